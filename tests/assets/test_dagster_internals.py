"""The contract with Dagster's private API: the tags that assets.dagster_internals names are those that Dagster writes.

The only test that imports private modules of Dagster.
"""

import dagster as dg

from assets import dagster_internals as internals


@dg.asset(code_version="a1", partitions_def=dg.StaticPartitionsDefinition(["x"]))
def below() -> dg.MaterializeResult:
    """An asset that gives its version."""
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"))


@dg.asset(deps=[below], code_version="b1", partitions_def=dg.StaticPartitionsDefinition(["x"]))
def above() -> dg.MaterializeResult:
    """An asset over it."""
    return dg.MaterializeResult(data_version=dg.DataVersion("v2"))


def test_tags_are_those_that_dagster_itself_gives_an_event() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([below, above], instance=instance, partition_key="x")
        pointer = instance.get_latest_storage_id_by_partition(below.key, dg.DagsterEventType.ASSET_MATERIALIZATION)["x"]
        told = instance.event_log_storage.get_latest_tags_by_partition(
            above.key, dg.DagsterEventType.ASSET_MATERIALIZATION, [internals.DATA_VERSION_TAG], ["x"]
        )
    tags = dict(next(m.tags for m in result.asset_materializations_for_node("above")))
    # Of a partitioned input it is a hash of versions; what counts is the pointer.
    assert tags.pop(f"{internals.INPUT_DATA_VERSION_TAG_PREFIX}/below")
    assert tags == {
        internals.DATA_VERSION_TAG: "v2",
        internals.DATA_VERSION_IS_USER_PROVIDED_TAG: "true",
        internals.CODE_VERSION_TAG: "b1",
        f"{internals.INPUT_EVENT_POINTER_TAG_PREFIX}/below": str(pointer),
    }
    assert told == {"x": {internals.DATA_VERSION_TAG: "v2"}}
