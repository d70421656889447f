"""Peer: MLServer, a runtime that does nothing; no keys, no metering. FOLDER PORT: writes its settings, then serves."""

import json
import os
import sys
from pathlib import Path

try:
    from mlserver import MLModel
    from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

    class Noop(MLModel):
        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            return InferenceResponse(model_name=self.name, outputs=[
                ResponseOutput(name="label", datatype="BYTES", shape=[1], data=["pos"])])
except ImportError:
    pass

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    port = int(sys.argv[2])
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "http_port": port, "grpc_port": port + 1 if port < 65000 else port - 1,
                                                      "metrics_endpoint": None, "debug": False, "parallel_workers": 0}))
    (folder / "model-settings.json").write_text(json.dumps({"name": "noop", "implementation": "peer_model.Noop"}))
    (folder / "peer_model.py").write_text(Path(__file__).read_text())
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    os.execv(str(Path(sys.executable).with_name("mlserver")), ["mlserver", "start", str(folder)])
