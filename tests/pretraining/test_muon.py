"""Our Muon makes the steps of PyTorch's, in float32. Runs with pytest."""

import pytest
import torch

from pretraining.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 24, 8), (4, 8, 24)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 0.3

    found = orthogonal(matrices)

    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3
    for matrix, made in zip(matrices, found, strict=True):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        turned = left.T @ made @ right.T
        torch.testing.assert_close(turned, torch.diag(torch.diag(turned)), atol=1e-3, rtol=0)


def test_ten_steps_agree_with_pytorch_up_to_its_bfloat16():
    generator = torch.Generator().manual_seed(2)
    begins = [torch.randn(shape, generator=generator) for shape in ((12, 12), (12, 12), (24, 12), (12, 24))]
    ours, theirs = ([torch.nn.Parameter(one.clone()) for one in begins] for _ in range(2))
    made = Muon(ours, 0.02), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)

    for _ in range(10):
        gradients = [torch.randn(one.shape, generator=generator) for one in begins]
        for optimizer, weights in zip(made, (ours, theirs), strict=True):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()

    for mine, other, begun in zip(ours, theirs, begins, strict=True):
        assert (mine - other).norm() < 0.05 * (mine - begun).norm()


def test_a_zero_gradient_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)

    Muon([weight], 0.02).step()

    assert torch.equal(weight.detach(), torch.ones(4, 4))
