"""The PostgreSQL that rlflow brings along, for who sets no `DATABASE_URL`.

Theory of operation: `shared_server` gives its users one server per data directory. Each user holds a lock that ends
with its process (`locks`); the last one out stops the server, and whoever finds one that was left behind joins it.
`server` runs PostgreSQL's own programs (`programs`) on the files (`files`); as root, under an account that is not.
"""
