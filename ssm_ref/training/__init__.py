"""Training any model here from one small file: `python -m ssm_ref train CONFIG`."""
