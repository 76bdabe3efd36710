"""Where motes lie on the picture of a site."""

from __future__ import annotations

import math

from ingestion.pages.floor_plan import HEIGHT, MARGIN, RADIUS, WIDTH, Spot, lay_out


def inside(plan) -> bool:
    return all(0 <= x <= plan.width and 0 <= y <= plan.height for x, y in plan.places.values())


def test_distances_on_the_picture_are_those_of_the_room():
    plan = lay_out([Spot("a", 0, 0), Spot("b", 30, 0), Spot("c", 0, 10)])

    (ax, ay), (bx, by), (cx, cy) = (plan.places[key] for key in "abc")
    assert math.isclose((bx - ax) / (cy - ay), 3, rel_tol=0.01)
    assert (by, cx) == (ay, ax)
    assert inside(plan)


def test_a_tall_site_stays_on_the_page_and_in_its_middle():
    plan = lay_out([Spot("a", 0, 0), Spot("b", 2, 100)])

    assert plan.height <= HEIGHT
    assert math.isclose(sum(x for x, _ in plan.places.values()) / 2, WIDTH / 2, rel_tol=0.01)


def test_the_scale_bar_is_a_round_length_that_fits():
    plan = lay_out([Spot("a", 0, 0), Spot("b", 40, 30)])

    assert plan.bar_m == 5
    assert 0 < plan.bar_px <= WIDTH / 5


def test_motes_without_a_place_stand_below_and_nobody_is_lost():
    plan = lay_out([Spot("a", 0, 0), Spot("b", 9, 9), Spot("lost", None, None), Spot("half", 3, None)])

    lowest = max(plan.places[key][1] for key in "ab")
    assert plan.places["lost"][1] > lowest
    assert len(set(plan.places.values())) == 4
    assert inside(plan)


def test_motes_of_which_none_has_a_place_fill_the_picture_without_a_scale():
    plan = lay_out([Spot(str(n), None, None) for n in range(500)])

    assert plan.bar_m is None
    assert len(set(plan.places.values())) == 500
    assert inside(plan)


def test_signs_do_not_cover_each_other_where_there_is_room():
    plan = lay_out([Spot("a", 0, 0), Spot("b", 1, 0), Spot("c", 40, 30)])

    (ax, ay), (bx, by) = plan.places["a"], plan.places["b"]
    assert 2 * plan.radius <= max(2 * RADIUS[0], math.hypot(bx - ax, by - ay))


def test_one_mote_and_none_are_plans_too():
    assert lay_out([]).places == {}
    alone = lay_out([Spot("a", 12.0, 7.0)])
    assert alone.places["a"][0] >= MARGIN
    assert inside(alone)
