# SPDX-License-Identifier: Apache-2.0
"""A 2D network on volumes."""

import torch

from sfg_med.networks import SFGHighResNet, SFGUNet


def test_a_2d_network_takes_a_volume_slice_by_slice_along_its_last_axis() -> None:
    torch.manual_seed(0)
    net = SFGUNet(2, channels=(4, 8)).double().eval()
    volume = torch.randn(2, 1, 12, 10, 5, dtype=torch.double)
    by_hand = torch.stack([net(volume[..., z]) for z in range(5)], dim=-1)
    torch.testing.assert_close(net(volume), by_hand)
    torch.testing.assert_close(net.compact()(volume), by_hand)


def test_batch_statistics_are_those_of_all_slices_together() -> None:
    torch.manual_seed(0)
    net = SFGHighResNet(2, channels=(4, 4, 4, 4, 4)).double().eval()
    volume = torch.randn(1, 1, 8, 8, 3, dtype=torch.double)
    together = net(volume[0].permute(3, 0, 1, 2))
    torch.testing.assert_close(net(volume)[0].permute(3, 0, 1, 2), together)
