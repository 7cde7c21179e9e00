"""What a child process logs, on its way to the master; and the lines of logs."""
