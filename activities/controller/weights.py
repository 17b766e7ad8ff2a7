"""The controller's activity that looks up what the jobs of a backend weigh now."""

from temporalio import activity

from activities.contracts import LOAD_WEIGHTS
from rap.models import BackendRequest, Weights
from worker_controller.weights import WeightFiles


class WeightActivities:
    """Reads the files of weights."""

    def __init__(self, files: WeightFiles) -> None:
        self._files = files

    @activity.defn(name=LOAD_WEIGHTS.name)
    async def load_weights(self, request: BackendRequest) -> Weights:
        """The weights that are in force now (controller.md 9.4)."""
        return self._files.of_backend(request.backend)
