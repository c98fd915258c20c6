"""The learned encoding of places: its written-out gradients are autograd's, it is continuous, and colours come fast with it."""

from __future__ import annotations

import torch
from torch import Tensor

from pegasus_ray.avatar.fields.canonical import CanonicalField
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fields.grid import COARSEST_CELLS_PER_UNIT, FEATURES_PER_LEVEL, HashGrid


def _seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _grid(levels: int = 2) -> HashGrid:
    grid = HashGrid(levels, _seed()).double()
    with torch.no_grad():
        grid.table.mul_(100)
    return grid


def test_gradients_by_places_are_those_of_finite_steps() -> None:
    places = torch.randn(5, 3, generator=_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(_grid(), (places,), eps=1e-7)


def test_gradients_by_the_table_are_those_of_a_finite_step() -> None:
    grid, places = _grid(), torch.randn(50, 3, generator=_seed(1), dtype=torch.float64)
    pull = torch.randn(50, grid.width, generator=_seed(2), dtype=torch.float64)
    (slope,) = torch.autograd.grad((grid(places) * pull).sum(), grid.table)
    step = torch.randn(grid.table.shape, generator=_seed(3), dtype=torch.float64)
    with torch.no_grad():
        before = (grid(places) * pull).sum()
        grid.table.add_(step)  # features are linear in the table
        after = (grid(places) * pull).sum()
    torch.testing.assert_close(after - before, (slope * step).sum())


def test_features_do_not_jump_between_cells_and_differ_from_cell_to_cell() -> None:
    grid = _grid()
    border = torch.tensor([[2.0, -1.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64) / COARSEST_CELLS_PER_UNIT
    step = torch.full((1, 3), 1e-9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(grid(border - step), grid(border + step), atol=1e-5, rtol=0)
        assert float((grid(border[:1]) - grid(border[1:])).abs().min()) > 1e-3
    assert grid.width == 2 * FEATURES_PER_LEVEL


def test_a_field_with_a_grid_learns_fine_colours_in_steps_in_which_one_without_does_not() -> None:
    places = 0.08 * torch.randn(1000, 3, generator=_seed(1))
    stripes = ((places[:, 1:2] * 400).sin() > 0).float().expand(-1, 3) * 0.6 + 0.2  # 16 mm a pair

    def left(levels: int) -> float:
        field = CanonicalField(6, FieldConfig(field_width=24, field_depth=3, grid_levels=levels), _seed(2))
        table = [] if field.grid is None else [field.grid.table]
        rest = [one for one in field.parameters() if all(one is not other for other in table)]
        adam = torch.optim.Adam([{"params": rest, "lr": 3e-3}, {"params": table, "lr": 3e-2}], betas=(0.9, 0.99))
        error = torch.zeros(())
        for _ in range(40):
            error = (field(places, torch.zeros(6)).albedo - stripes).abs().mean()
            adam.zero_grad()
            torch.autograd.backward(error)
            adam.step()
        return float(error.detach())

    assert left(3) < 0.3 * left(0)


def test_distance_and_normals_do_not_see_the_grid() -> None:
    field = CanonicalField(6, FieldConfig(field_width=16, field_depth=3, grid_levels=2), _seed())
    assert field.grid is not None and field.painter is not None
    last = field.painter[2]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.constant_(last.weight, 0.01)
    places, code = 0.1 * torch.randn(9, 3, generator=_seed(1)), torch.zeros(6)

    def seen() -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            values = field(places, code)
        return values.distance, values.gradient, values.albedo

    before = seen()
    with torch.no_grad():
        field.grid.table.add_(1.0)
    after = seen()
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])
    assert float((before[2] - after[2]).abs().max()) > 0.01
