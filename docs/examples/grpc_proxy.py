"""Optuna's gRPC proxy of a database: processes reach it as grpc://HOST:PORT, and need neither a driver nor a password.

It neither encrypts nor asks who calls: for a network that is your own.

    DATABASE=postgresql+psycopg://searcher@database/studies HOST=0.0.0.0 python grpc_proxy.py
"""

import os

from optuna.storages import RDBStorage, get_storage, run_grpc_proxy_server

# A connection that the database closed, as when it is restarted, is replaced.
database = RDBStorage(os.environ["DATABASE"], engine_kwargs={"pool_pre_ping": True})
run_grpc_proxy_server(
    # The cache is shared by all that call.
    get_storage(database),
    host=os.environ.get("HOST", "127.0.0.1"),
    port=int(os.environ.get("PORT", "13000")),
)
