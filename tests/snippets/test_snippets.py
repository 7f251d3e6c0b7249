"""Every snippet of the project, one item each: see conftest.py beside this file."""
