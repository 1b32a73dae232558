"""Callbacks that record the training of other libraries, imported when asked for.

:mod:`scalinglaw.integrations.skorch` holds :class:`~scalinglaw.NormRecorder`,
:mod:`~scalinglaw.integrations.lightning` and
:mod:`~scalinglaw.integrations.transformers` a ``TrajectoryCallback`` each.
"""
