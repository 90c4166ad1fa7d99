"""A committee: its members learn on their own and vote."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from scripts.architectures.committee import Vote
from scripts.common.errors import ConfigError
from scripts.config.experiment import TrainingSettings
from scripts.models import build_model
from scripts.trainer import Trainer

SMALL = {"network": "short_chunk", "members": 2, "settings": {"channels": [4, 8], "dropout": 0.0}}


def make(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model("committee", 3, 32, 32, **SMALL)


def test_of_one_label_it_answers_with_the_mean_of_the_log_probabilities():
    committee, x = make().eval(), torch.randn(5, 1, 32, 32)
    single = []
    for backbone, head in zip(committee.backbones, committee.head.heads, strict=True):
        single.append(head(backbone.embed(x)).log_softmax(1))
    pooled = ((single[0] + single[1]) / 2).exp()
    torch.testing.assert_close(committee(x).softmax(1), pooled / pooled.sum(1, keepdim=True))
    assert not torch.allclose(single[0], single[1])


def test_of_several_labels_members_that_agree_are_believed():
    """Two members of the same logits: the committee's probabilities, and so its macro F1, are a member's."""
    probabilities = torch.tensor([[0.998, 0.998, 0.002], [0.9, 0.2, 0.7], [0.1, 0.1, 0.2]])
    vote = Vote([nn.Identity(), nn.Identity()]).eval()
    found = vote(torch.cat([probabilities.logit()] * 2, dim=1)).sigmoid()
    torch.testing.assert_close(found, probabilities)
    truth = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]])
    assert f1_score(truth, found >= 0.5, average="macro") == f1_score(truth, probabilities >= 0.5, average="macro") == 1


def test_of_several_labels_members_that_differ_meet_at_the_mean_of_their_log_odds():
    """Odds of 9 and 1/4 have the geometric mean 3/2, a probability of 0.6."""
    vote = Vote([nn.Identity(), nn.Identity()]).eval()
    torch.testing.assert_close(vote(torch.tensor([[0.9, 0.2]]).logit()).sigmoid(), torch.tensor([[0.6]]))


def test_a_member_learns_as_it_would_alone():
    committee, x, y = make(), torch.randn(6, 1, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    alone = build_model("short_chunk", 3, 32, 32, **SMALL["settings"])
    alone.backbone.load_state_dict(committee.backbones[1].backbone.state_dict())
    alone.head.load_state_dict(committee.head.heads[1].state_dict())
    losses = []
    for model in (committee, alone):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        trainer = Trainer(
            model, nn.functional.cross_entropy, optimizer, settings=TrainingSettings(device="cpu", precision="float32")
        )
        model.train()
        losses.append(trainer.step(x, y, y)[0])
    for mine, single in zip(committee.backbones[1].parameters(), alone.backbone.parameters(), strict=True):
        torch.testing.assert_close(mine, single)
    first = make()
    first.train()
    with torch.no_grad():
        expected = sum(nn.functional.cross_entropy(logits, y) for logits in first(x)) / 2
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("settings", [{"members": 1}, {"network": "committee"}])
def test_a_committee_needs_members(settings):
    with pytest.raises(ConfigError, match="at least 2 members"):
        build_model("committee", 3, 32, 32, **settings)
