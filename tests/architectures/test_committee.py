"""A committee: its members learn on their own and vote."""

import pytest
import torch
from torch import nn

from scripts.common.errors import ConfigError
from scripts.models import build_model
from scripts.trainer import Trainer

SMALL = {"of": "short_chunk", "members": 2, "settings": {"channels": [4, 8], "dropout": 0.0}}


def make(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model("committee", 3, 32, 32, **SMALL)


def test_answers_with_the_mean_of_the_log_probabilities():
    committee, x = make().eval(), torch.randn(5, 1, 32, 32)
    single = []
    for backbone, head in zip(committee.backbones, committee.head.heads, strict=True):
        single.append(head(backbone.embed(x)).log_softmax(1))
    torch.testing.assert_close(committee(x), (single[0] + single[1]) / 2)
    assert not torch.allclose(single[0], single[1])


def test_a_member_learns_as_it_would_alone():
    committee, x, y = make(), torch.randn(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    alone = build_model("short_chunk", 3, 32, 32, **SMALL["settings"])
    alone.backbone.load_state_dict(committee.backbones[1].backbone.state_dict())
    alone.head.load_state_dict(committee.head.heads[1].state_dict())
    losses = []
    for model in (committee, alone):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        trainer = Trainer(model, optimizer, nn.functional.cross_entropy, "cpu", None, None, precision="float32")
        model.train()
        losses.append(trainer.step(x, y, y)[0])
    for mine, single in zip(committee.backbones[1].parameters(), alone.backbone.parameters(), strict=True):
        torch.testing.assert_close(mine, single)
    first = make()
    first.train()
    with torch.no_grad():
        expected = sum(nn.functional.cross_entropy(logits, y) for logits in first(x)) / 2
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("settings", [{"members": 1}, {"of": "committee"}])
def test_a_committee_needs_members(settings):
    with pytest.raises(ConfigError, match="at least 2 members"):
        build_model("committee", 3, 32, 32, **settings)
