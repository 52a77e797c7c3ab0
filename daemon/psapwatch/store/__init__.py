"""What must outlive the process, in SQLite: attempts, calls, incidents, notices, audit."""
