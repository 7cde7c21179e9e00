"""The log of a child process, sent to the master, and the writing of log lines."""
