"""What the server says of its models: metadata, config, statistics and facts, as pure functions of a servable.

A model presents itself as a Triton *ensemble* of its members (`<model>/<member>`), so that perf_analyzer shows each
member's share of the time. The members are a view: they have a config and statistics but take no calls of their own.
"""

import json
from collections.abc import Sequence

from ..contract.bundle import MemberSpec
from ..contract.combiner import weights_by_member
from ..contract.errors import NotFound
from ..contract.tensors import DataType, TensorSpec
from ..protocol import messages as m
from ..protocol.service import CLASSES_PROPERTY, DIGEST_PROPERTY, INPUTS_PROPERTY
from .counters import BatchTimes, Counters, Duration
from .metrics.observation import Facts, Member
from .servable import Servable

PLATFORM = "ensemble"
MEMBER_PLATFORM = "onnxruntime_onnx"


def member_name(model: str, member: MemberSpec) -> str:
    """Return the name under which a member's config and statistics are found; no model can have it."""
    return f"{model}/{member.name}"


def split_member(name: str) -> tuple[str, str]:
    """Return model and member of such a name; the member is "" for a model's own name."""
    model, _, member = name.partition("/")
    return (model, member) if member else (name, "")


def model_metadata(servable: Servable, versions: list[str]) -> m.ModelMetadataResponse:
    """Return the metadata of a model, every output included."""
    bundle = servable.bundle
    return m.ModelMetadataResponse(
        name=servable.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[_tensor_metadata(spec) for spec in bundle.inputs],
        outputs=[_tensor_metadata(spec) for spec in servable.all_outputs],
        properties={
            INPUTS_PROPERTY: json.dumps([spec.to_json() for spec in bundle.inputs]),
            CLASSES_PROPERTY: json.dumps(servable.class_names),
            DIGEST_PROPERTY: bundle.digest,
        },
    )


def model_config(servable: Servable, member: str = "") -> m.ModelConfigResponse:
    """Return the config of a model, or of one member as part of it.

    Raises:
        NotFound: the model has no such member.
    """
    bundle = servable.bundle
    if member:
        index = member_index(servable, member)
        inputs = [spec for spec in bundle.inputs if spec.name in bundle.members[index].inputs]
        name = member_name(servable.name, bundle.members[index])
        config = _config(servable, name, inputs, [bundle.score_outputs[index]])
        config.platform = MEMBER_PLATFORM
        config.backend = "onnxruntime"
        config.instance_group.add(name=config.name, count=1)
        return m.ModelConfigResponse(config=config)
    config = _config(servable, servable.name, bundle.inputs, servable.all_outputs)
    config.platform = PLATFORM
    config.parameters[DIGEST_PROPERTY].string_value = bundle.digest
    for spec in bundle.members:
        config.ensemble_scheduling.step.add(
            model_name=member_name(servable.name, spec),
            model_version=-1,
            input_map={name: name for name in spec.inputs},
            output_map={f"scores/{spec.name}": f"scores/{spec.name}"},
        )
    return m.ModelConfigResponse(config=config)


def model_statistics(servable: Servable, counters: Sequence[Counters]) -> list[m.ModelStatistics]:
    """Return the statistics of a model and, as further entries, of each member; `counters` are in that order."""
    names = [servable.name, *(member_name(servable.name, spec) for spec in servable.bundle.members)]
    return [_statistics(name, str(servable.version), each) for name, each in zip(names, counters, strict=True)]


def member_index(servable: Servable, member: str) -> int:
    """Return a member's place in the bundle.

    Raises:
        NotFound: the model has no such member.
    """
    names = [spec.name for spec in servable.bundle.members]
    if member not in names:
        raise NotFound(f"model {servable.name!r} has no member {member!r}; it has {', '.join(map(repr, names))}")
    return names.index(member)


def facts(servable: Servable) -> Facts:
    """Return what metrics and the status page tell of a version."""
    bundle = servable.bundle
    weights = weights_by_member(bundle.combiner).tolist()
    return Facts(
        name=servable.name,
        version=servable.version,
        digest=bundle.digest,
        task=bundle.task,
        combiner=bundle.combiner.kind,
        chosen=str(bundle.selection.get("chosen", "")),
        reason=str(bundle.selection.get("reason", "")),
        members=tuple(
            Member(
                spec.name,
                str(spec.source.get("framework", "")),
                member.provider.removesuffix("ExecutionProvider"),
                weight,
            )
            for spec, member, weight in zip(bundle.members, servable.ensemble.members, weights, strict=True)
        ),
    )


def _config(
    servable: Servable, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> m.ModelConfig:
    """Return the common part; `max_batch_size` is what one request may carry, since longer ones are split."""
    return m.ModelConfig(
        name=name,
        max_batch_size=servable.max_request_rows,
        input=[m.ModelInput(name=s.name, data_type=_config_type(s), dims=s.row_shape) for s in inputs],
        output=[m.ModelOutput(name=s.name, data_type=_config_type(s), dims=s.row_shape) for s in outputs],
    )


def _config_type(spec: TensorSpec) -> m.DataType:
    return m.DataType.Value(f"TYPE_{'STRING' if spec.datatype is DataType.BYTES else spec.datatype.value}")


def _tensor_metadata(spec: TensorSpec) -> m.ModelMetadataResponse.TensorMetadata:
    return m.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype.value, shape=spec.shape)


def _statistics(name: str, version: str, counters: Counters) -> m.ModelStatistics:
    return m.ModelStatistics(
        name=name,
        version=version,
        last_inference=counters.last_inference_ms,
        inference_count=counters.rows,
        execution_count=counters.executions,
        inference_stats=m.InferStatistics(
            success=_duration(counters.success),
            fail=_duration(counters.fail),
            queue=_duration(counters.queue),
            compute_input=_duration(counters.compute_input),
            compute_infer=_duration(counters.compute_infer),
            compute_output=_duration(counters.compute_output),
        ),
        batch_stats=[_batch_statistics(rows, times) for rows, times in sorted(counters.batches.items())],
    )


def _batch_statistics(rows: int, times: BatchTimes) -> m.InferBatchStatistics:
    return m.InferBatchStatistics(
        batch_size=rows,
        compute_input=_duration(times.compute_input),
        compute_infer=_duration(times.compute_infer),
        compute_output=_duration(times.compute_output),
    )


def _duration(duration: Duration) -> m.StatisticDuration:
    return m.StatisticDuration(count=duration.count, ns=duration.ns)
