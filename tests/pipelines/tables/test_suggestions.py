from pipelines.tables.suggestions import suggestion


def test_names_the_nearest():
    assert suggestion("funel", ["funnel", "patients"]) == ": did you mean 'funnel'?"


def test_says_something_else_where_nothing_is_near():
    assert suggestion("xyz", ["funnel"], ": see the list") == ": see the list"
    assert suggestion("xyz", []) == ""
