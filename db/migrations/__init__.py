"""How the schema came to be: the Alembic environment and its versions."""
