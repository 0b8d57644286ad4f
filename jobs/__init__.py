"""The night: one module for each table or artifact built, named by its product."""
