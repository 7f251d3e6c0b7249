"""Triton operators with the contracts of their definitions in `ssm_ref`.

Import the operator you need (`from ssm_kernels.selective_scan.op import selective_scan`).
"""
