"""Deliverers that are killed while receivers behave in every way: R24."""

from tests.chaos.crowd import REFUSING, TAKING
from tests.chaos.scenes import LATER_S, WAVE, judge, scene
from tests.chaos.staging import Report, Stage


def bad_receivers(stage: Stage) -> Report:
    """Tell a hundred receivers of all kinds; kill the deliverer every few seconds."""
    report = Report()
    each, count = (1, 3) if stage.is_short else (7, 12)
    kinds = [*TAKING, *REFUSING] * each
    with scene(stage, kinds, is_deadly=True, changes=_changes(stage)) as here:
        here.post(range(count))
        for _ in stage.turns(every_s=0.7 if stage.is_short else 3):
            here.kill(stage.random.uniform(0, LATER_S))
        judge(stage, report, here)
    return report


def killed_mid_post(stage: Stage) -> Report:
    """Kill the deliverer as often as it has requests on their way, under load."""
    report = Report()
    kills = max(10, round(stage.seconds))
    kinds = ["slow"] * 16
    with scene(stage, kinds, is_deadly=True, changes=_changes(stage)) as here:
        rounds = 0
        while here.kills < kills and rounds < 3 * kills:
            if here.left() < WAVE:
                here.post(range(rounds * WAVE, (rounds + 1) * WAVE))
            here.kill(stage.random.uniform(0, LATER_S))
            rounds += 1
        report.least("killed mid-POST", here.kills, kills)
        judge(stage, report, here)
    return report


def _changes(stage: Stage) -> str:
    return "hasty,forgetful" if stage.is_control else "hasty"
