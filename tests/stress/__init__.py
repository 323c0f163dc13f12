"""What takes long or many attempts: processes, threads, resources and numbers under stress."""
