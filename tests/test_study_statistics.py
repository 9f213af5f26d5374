"""Statistics against hand-derived cases and simulated truths: what is there is found, what is not is not."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest

from adaptx.errors import AdaptxError
from adaptx.metrics.reductions import f1, mean
from adaptx.study.statistics import crossed, variance
from adaptx.study.statistics.crossed import crossed_bootstrap, differences, paired
from adaptx.study.statistics.multiple import holm
from adaptx.study.statistics.ranking import english_selected, kendall_between_seeds, random_regret_at, regret_at
from adaptx.study.statistics.seeds import summarise
from adaptx.study.statistics.variance import COMPONENTS, anova, mixed_model, share_intervals, shares


def test_the_interval_over_seeds_is_students() -> None:
    found = summarise([0.1, 0.2, 0.3])
    # sd = 0.1, t(0.975, 2) = 4.30265: half width 4.30265 * 0.1 / sqrt(3)
    assert (found.mean, found.sd) == (pytest.approx(0.2), pytest.approx(0.1))
    assert found.high is not None and found.high - found.mean == pytest.approx(4.30265 * 0.1 / 3**0.5, abs=1e-5)
    assert summarise([0.4]).sd is None and summarise([0.4]).low is None


def binary(rng: np.random.Generator, seeds: int, items: int, shift: float, seed_sd: float) -> np.ndarray:
    """Right or wrong answers of one system, [seeds, items, 2]: an ability per seed, a difficulty per item."""
    ability = shift + rng.normal(0, seed_sd, (seeds, 1))
    p = 1 / (1 + np.exp(-(0.8 + ability + DIFFICULTY[:items])))
    right = (rng.random((seeds, items)) < p).astype(float)
    return np.stack([right, np.ones_like(right)], axis=2)


DIFFICULTY = np.random.default_rng(5).normal(0, 1.0, 400)


def rates(seeds: int, sds: Sequence[float], studies: int = 1000) -> tuple[np.ndarray, float]:
    """How often, in studies without any effect, each system is found to differ from the base and how often any is after
    Holm's correction. `sds`: of each system's ability between seeds, the base first."""
    rng = np.random.default_rng(seeds + int(100 * sum(sds)))
    found, any_after_holm = np.zeros(len(sds) - 1), 0
    for _ in range(studies):
        base = binary(rng, seeds, 120, 0.0, sds[0])
        family = [paired(binary(rng, seeds, 120, 0.0, sd), base, mean, resamples=100) for sd in sds[1:]]
        p_values = [d.p_value for d in differences(family)]
        found += np.array(p_values) < 0.05
        any_after_holm += min(holm(p_values)) < 0.05
    return found / studies, any_after_holm / studies


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "least"),
    [(2, 0.4, 0.005), (3, 0.0, 0.01), (3, 0.15, 0.015), (5, 0.4, 0.03), (10, 0.4, 0.035)],
)
def test_no_effect_is_found_at_the_nominal_rate_in_a_thousand_studies(seeds: int, seed_sd: float, least: float) -> None:
    found, any_after_holm = rates(seeds, [seed_sd] * 6)
    # nominal 5 %; tests of one study share a base, so the mean's sd is about 0.5 %; with few seeds the tests are careful
    assert least <= found.mean() <= 0.06, found
    assert any_after_holm <= 0.06, any_after_holm


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_system_that_varies_more_than_the_others_is_hardly_flattered_by_them(
    seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, any_after_holm = rates(seeds, [0.05] * 5 + [0.8])
    assert found[-1] <= 0.12 and found[:-1].max() <= 0.03, found
    assert any_after_holm <= 0.06, any_after_holm
    monkeypatch.setattr(crossed, "UNLIKE", float("inf"))
    assert rates(seeds, [0.05] * 5 + [0.8], 300)[0][-1] > 0.16, "what the rule is for"


@pytest.mark.parametrize(("seeds", "seed_sd"), [(2, 0.4), (3, 0.15)])
def test_a_single_difference_errs_on_the_careful_side(seeds: int, seed_sd: float) -> None:
    rng = np.random.default_rng(7)
    systems = (binary(rng, seeds, 120, 0.0, seed_sd) for _ in range(2000))
    found = sum(
        crossed_bootstrap(a, b, mean, resamples=100).p_value < 0.05 for a, b in zip(systems, systems, strict=True)
    )
    assert found / 1000 <= 0.06, found


def test_items_alone_would_find_too_much_where_seeds_differ() -> None:
    from adaptx.metrics.bootstrap import paired_bootstrap

    rng, naive = np.random.default_rng(3), 0
    for _ in range(200):
        a, b = (binary(rng, 3, 200, 0.0, 0.4) for _ in range(2))
        naive += paired_bootstrap(a[0], b[0], mean, resamples=100).p_value < 0.05
    assert naive / 200 > 0.10


def test_a_planted_effect_is_found_and_its_size_is_in_the_interval() -> None:
    rng, found, covered = np.random.default_rng(4), 0, 0
    truth = np.mean(1 / (1 + np.exp(-(1.4 + DIFFICULTY))) - 1 / (1 + np.exp(-(0.8 + DIFFICULTY))))
    for _ in range(100):
        base = binary(rng, 3, 400, 0.0, 0.05)
        shifted = [binary(rng, 3, 400, shift, 0.05) for shift in (0.6, 0.0, 0.0, 0.0)]
        result = differences([paired(a, base, mean, resamples=200) for a in shifted])[0]
        found += result.p_value < 0.05
        covered += result.low <= truth <= result.high
    assert found >= 90 and covered >= 88


def test_equal_systems_do_not_differ_and_other_shapes_are_refused() -> None:
    stats = binary(np.random.default_rng(0), 2, 50, 0.0, 0.1)
    same = crossed_bootstrap(stats, stats, mean)
    assert (same.delta, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(AdaptxError, match="AX050"):
        crossed_bootstrap(stats, stats[:, :49], mean)


def test_exchanging_the_systems_changes_the_sign_alone() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 3, (3, 60, 3)).astype(float) for _ in range(2))
    one, other = crossed_bootstrap(a, b, f1), crossed_bootstrap(b, a, f1)
    assert (one.delta, one.low, one.high) == (
        pytest.approx(-other.delta), pytest.approx(-other.high), pytest.approx(-other.low)
    )  # fmt: skip
    assert one.p_value == pytest.approx(other.p_value)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1 = 0.03, 0.06, 0.04 -> monotone 0.03, 0.06, 0.06
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def planted(rng: np.random.Generator, shape: tuple[int, int, int], sds: tuple[float, ...]) -> np.ndarray:
    i, j, k = shape
    parts = [(i, 1, 1), (1, j, 1), (i, j, 1), (1, 1, k), shape]
    return np.asarray(0.5 + sum(rng.normal(0, sd, part) for sd, part in zip(sds, parts, strict=True)))


def test_planted_variances_are_recovered_without_bias() -> None:
    rng, sds = np.random.default_rng(2), (0.05, 0.03, 0.02, 0.01, 0.015)
    raw = [anova(planted(rng, (6, 5, 4), sds)).raw for _ in range(1500)]
    for name, sd in zip(COMPONENTS, sds, strict=True):
        values = np.array([r[name] for r in raw])
        assert abs(values.mean() - sd**2) < 4 * values.std() / len(values) ** 0.5, name


def levels(scores: np.ndarray) -> list[np.ndarray]:
    return [g.ravel() for g in np.indices(scores.shape)]


def test_nothing_planted_gives_no_share_and_holes_are_refused() -> None:
    scores = planted(np.random.default_rng(0), (8, 8, 6), (0.0, 0.0, 0.0, 0.0, 0.1))
    assert shares(anova(scores).components)["residual"] > 0.9
    assert shares(mixed_model(scores.ravel(), *levels(scores)))["residual"] > 0.9
    grid = np.ones((2, 2, 2))
    assert set(shares(anova(grid).components).values()) == {0.0}
    assert set(mixed_model(grid.ravel(), *levels(grid)).values()) == {0.0}
    grid[0, 0, 0] = np.nan
    with pytest.raises(AdaptxError, match="AX050"):
        anova(grid)
    for shape in ((2, 2, 1), (1, 1, 3)):
        with pytest.raises(AdaptxError, match="AX050"):
            anova(np.random.default_rng(0).random(shape))


@pytest.mark.parametrize("holes", [0, 20])
def test_the_mixed_model_recovers_planted_variances_also_where_scores_are_missing(holes: int) -> None:
    rng, sds = np.random.default_rng(6), (0.05, 0.03, 0.02, 0.01, 0.015)
    found = []
    for _ in range(60):
        scores = planted(rng, (6, 4, 4), sds)
        keep = rng.permutation(scores.size)[holes:]
        found.append(mixed_model(scores.ravel()[keep], *(v[keep] for v in levels(scores))))
    for name, sd in zip(COMPONENTS, sds, strict=True):
        values = np.array([f[name] for f in found])
        assert abs(values.mean() - sd**2) < 4 * values.std() / len(values) ** 0.5, name


def test_the_mixed_model_is_the_analysis_of_variance_on_a_full_grid() -> None:
    rng, compared = np.random.default_rng(3), 0
    for shape in ((5, 4, 3), (3, 3, 5), (4, 1, 3), (1, 3, 4)):
        for _ in range(5):
            scores = planted(rng, shape, (0.05, 0.05, 0.03, 0.03, 0.01))
            moments, likelihood = anova(scores), mixed_model(scores.ravel(), *levels(scores))
            assert likelihood.keys() == moments.components.keys() and min(likelihood.values()) >= 0
            if min(moments.raw.values()) > 0:
                compared += 1
                assert likelihood == pytest.approx(moments.components, rel=1e-4)
    assert compared >= 10


def statsmodels_fit(scores: np.ndarray) -> tuple[dict[str, float], float]:
    """Components and -2 log likelihood of the same model by statsmodels, for scores of variance one."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = pd.DataFrame(dict(zip(("source", "task", "seed"), levels(scores), strict=True))).assign(y=scores.ravel())
    table["cell"] = table["source"].astype(str) + "/" + table["task"].astype(str)
    names = {"source": "source", "task": "task", "cell": "source x task", "seed": "seed"}
    formula = {column: f"0 + C({column})" for column in names}
    fit = MixedLM.from_formula("y ~ 1", table, groups=np.ones(len(table)), vc_formula=formula).fit(reml=True)
    found = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    return {**{n: float(found[c]) for c, n in names.items()}, "residual": float(fit.scale)}, float(-2 * fit.llf)


@pytest.mark.filterwarnings("ignore")  # of statsmodels, where it does not converge
def test_the_mixed_model_is_that_of_statsmodels_and_no_worse_where_a_component_is_zero() -> None:
    def deviance(components: dict[str, float], scores: np.ndarray) -> float:
        where = dict(zip(("source", "task", "seed"), levels(scores), strict=True))
        where["source x task"] = where["source"] * 100 + where["task"]
        same = [np.equal.outer(where[n], where[n]).astype(float) for n in COMPONENTS[:-1]] + [np.eye(scores.size)]
        return variance._likelihood(np.array([components[n] for n in COMPONENTS]), scores.ravel(), same)[0]

    inside = planted(np.random.default_rng(8), (6, 5, 4), (1.0, 0.8, 0.6, 0.5, 0.4))
    inside = (inside - inside.mean()) / inside.std()
    ours, (theirs, _) = mixed_model(inside.ravel(), *levels(inside)), statsmodels_fit(inside)
    assert ours == pytest.approx(theirs, rel=0.02)
    rng = np.random.default_rng(0)
    for _ in range(4):
        edge = planted(rng, (4, 3, 3), (1.0, 0.0, 0.0, 0.0, 0.3))
        edge = (edge - edge.mean()) / edge.std()
        theirs = {n: max(v, 1e-12) for n, v in statsmodels_fit(edge)[0].items()}
        assert deviance(mixed_model(edge.ravel(), *levels(edge)), edge) <= deviance(theirs, edge) + 1e-6


@pytest.mark.parametrize("shape", [(2, 2, 2), (5, 3, 3), (4, 1, 3)])
def test_intervals_of_shares_hold_the_truth_as_often_as_they_say(shape: tuple[int, int, int]) -> None:
    rng, sds = np.random.default_rng(9), (0.05, 0.03, 0.02, 0.01, 0.015)
    names = anova(planted(rng, shape, sds)).components.keys()
    truth = shares({n: sd**2 for n, sd in zip(COMPONENTS, sds, strict=True) if n in names})
    if shape[1] == 1:  # one task: the interaction is part of the source
        total = sum(sd**2 for n, sd in zip(COMPONENTS, sds, strict=True) if n != "task")
        truth = {"source": (0.05**2 + 0.02**2) / total, "seed": 0.01**2 / total, "residual": 0.015**2 / total}
    covered = dict.fromkeys(names, 0)
    for _ in range(400):
        found = share_intervals(anova(planted(rng, shape, sds)), draws=1000)
        for name in names:
            covered[name] += found[name][0] <= truth[name] <= found[name][1]
    assert all(0.90 <= n / 400 <= 0.995 for n in covered.values()), covered


def test_rankings_between_seeds_by_hand() -> None:
    same = np.array([[0.1, 0.2, 0.3], [0.2, 0.3, 0.4]])
    assert kendall_between_seeds(same) == pytest.approx((1.0, 1.0, 1.0))
    assert kendall_between_seeds(same * [[1], [-1]]) == pytest.approx((-1.0, -1.0, -1.0))
    # one of three pairs turned round: (2 - 1) / 3
    assert kendall_between_seeds(np.array([[1.0, 2, 3], [1.0, 3, 2]])) == pytest.approx((1 / 3,) * 3)
    assert kendall_between_seeds(same[:1]) is None


def test_selection_on_english_and_regret_by_hand() -> None:
    found = english_selected([0.9, 0.8, 0.95], [0.5, 0.7, 0.6])
    assert (found.chosen, found.oracle, found.gap) == (2, 1, pytest.approx(0.1))
    scores = {"sv": 0.5, "et": 0.7, "en": 0.6}
    assert regret_at(["sv", "en", "et"], scores, 1) == pytest.approx(0.2)
    assert regret_at(["sv", "en", "et"], scores, 2) == pytest.approx(0.1)
    assert regret_at(["fr", "et", "en"], scores, 1) == 0.0
    assert random_regret_at(scores, 3) == pytest.approx(0.0)
    for k in (1, 2):
        mean_regret = np.mean([regret_at(order, scores, k) for order in permutations(scores)])
        assert random_regret_at(scores, k) == pytest.approx(mean_regret)
