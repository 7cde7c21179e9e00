"""Who gets what: pure choices among workers, also as programs that the kernel runs."""
