"""What people and programs ask the running service over HTTP."""
