"""A = −exp(A_log) in one launch, for blocks that make it anew with every token."""

import torch
from torch import Tensor

from ssm_kernels.backend import check_device
from ssm_kernels.launcher import kept
from ssm_kernels.operator import operator
from ssm_kernels.state_update.kernel import decay_rate_kernel
from ssm_kernels.tiling import ceil_div

BLOCK = 1024

launch = kept(decay_rate_kernel)


@operator("decay_rate")
def decay_rate(A_log: Tensor) -> Tensor:
    """−exp(A_log) in float32, of any shape; not differentiable."""
    check_device(A_log)
    rate = torch.empty(A_log.shape, dtype=torch.float32, device=A_log.device)
    if size := rate.numel():
        launch[(ceil_div(size, BLOCK),)](A_log.contiguous(), rate, size, BLOCK=BLOCK)
    return rate


@decay_rate.register_fake
def _(A_log: Tensor) -> Tensor:
    return A_log.new_empty(A_log.shape, dtype=torch.float32)
