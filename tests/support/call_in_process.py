"""Call one function of dolg_zoo.weights with arguments from the command line; print the outcome."""

import json
import logging
import resource
import sys
import time

from dolg_zoo import weights

# The Hub client waits for seconds between its attempts; a loopback server needs no rest.
time.sleep = lambda seconds: None

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("dolg_zoo").addHandler(handler)

function, arguments = json.loads(sys.argv[1])
if "file_size_limit" in arguments:
    limit = arguments.pop("file_size_limit")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if function == "fetch":
    arguments["file"] = weights.RemoteFile(**arguments["file"])
try:
    result = getattr(weights, function)(**arguments)
except weights.WeightsError as error:
    cause = type(error.__cause__).__name__
    outcome = {"error": type(error).__name__, "message": str(error), "cause": cause}
else:
    if function == "fetch":
        outcome = {"path": str(result)}
    else:
        outcome = {"folder": str(result.folder), "commit": result.commit}
print(json.dumps(outcome | {"logged": logged}))
