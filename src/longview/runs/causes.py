"""Why runs end: what each cause looks like in error texts, logs and exit codes, and what to do about it.

`<run>` and `<run directory>` in an advice stand for the run; `longview why` fills them in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A kind of ending.

    Attributes:
        title: In plain words.
        advice: What to do.
        pattern: What error texts and logs say when it is this.
    """

    title: str
    advice: str
    pattern: str = ""


_AGAIN = "`longview resume <run>` puts it back; it goes on from its last checkpoint"

OUT_OF_MEMORY = Cause(
    "out of memory on the host",
    "lower loader.num_workers or loader.batch_size, or ask for more with resources.memory_gb; then `longview resume <run>`",
    r"oom[-_ ]kill|out of memory.*killed|killed.*out of memory|Out Of Memory|\bMemoryError\b|DefaultCPUAllocator: can't allocate"
    r"|Cannot allocate memory|[Ee]xceeded (job |step )?memory limit",
)
GPU_MEMORY = Cause(
    "out of memory on the GPU",
    "lower loader.batch_size (and raise trainer.accumulate), use trainer.precision=bf16-mixed, or shard with strategy=fsdp",
    r"CUDA out of memory|OutOfMemoryError|HIP out of memory|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED",
)
DISK = Cause(
    "disk full or quota used up",
    "free space or files (the site's quota command shows both), or move run.root; then `longview resume <run>`",
    r"No space left on device|Disk quota exceeded|\bENOSPC\b|\bEDQUOT\b|\[Errno (28|122)\]",
)
SHARED_MEMORY = Cause(
    "shared memory (/dev/shm) used up",
    "lower loader.num_workers or loader.batch_size",
    r"Bus error|unable to (open|mmap|allocate) shared memory|insufficient shared memory",
)
RENDEZVOUS = Cause(
    "the ranks did not find one another",
    "`longview doctor` shows the address and interface of the cluster file (cluster.network); then `longview resume <run>`",
    r"MASTER_ADDR|MASTER_PORT|does not resolve|Name or service not known|Temporary failure in name resolution|EADDRINUSE"
    r"|Address already in use|DistStoreError|Timed out .*waiting for clients|client socket has timed out|SOCKET_IFNAME"
    r"|Unable to find (address|interface)|no socket interface found|makeDeviceForInterface",
)
COMMUNICATION = Cause(
    "communication between the ranks broke",
    "no rank has an error of its own: a node or the network may be to blame; `longview resume <run>`"
    " (NCCL_DEBUG=INFO in cluster.env tells more)",
    r"NCCL|gloo|ncclSystemError|ProcessGroup|Watchdog caught collective|ConnectionResetError|DistBackendError|Broken pipe"
    r"|Connection (closed|reset) by peer",
)
BAD_DATA = Cause(
    "the data are damaged or incomplete",
    "`longview data check` reads everything once and lists each malformed file",
    r"\bDataError\b|Truncated File Read|Can't read data|file signature not found|UnpicklingError|BadZipFile"
    r"|Cannot load file .*npy|No data left in file",
)
CHECKPOINT = Cause(
    "a checkpoint cannot be loaded",
    "the message names the file and what to put in its place",
    r"(ckpt|checkpoint).*(damaged|corrupt|lacks|cannot be loaded)|PytorchStreamReader failed|Error\(s\) in loading state_dict",
)
GPU = Cause(
    "a GPU or its driver failed",
    "tell the site's support which node; exclude it (launch.sbatch={exclude: <node>}) and `longview resume <run>`",
    r"uncorrectable ECC|CUDA error: (unspecified launch|an illegal|device-side)|Xid|CUDA driver|no CUDA-capable device"
    r"|CUDA initialization|all CUDA-capable devices are busy|GPU has fallen off|no CUDA GPUs are available",
)
NOT_A_NUMBER = Cause(
    "the loss is not a number",
    "lower task.lr, set trainer.gradient_clip, or use trainer.precision=bf16-mixed instead of 16-mixed",
    r"(loss|gradient)\S* .*\b(nan|inf|not finite|non-finite)\b",
)
MODULE = Cause(
    "the site's software could not be set up",
    "compare cluster.setup and cluster.modules with what `module spider` offers today",
    r"this set-up line failed|Lmod has detected the following error|module\(s\) are unknown|Unable to locate a modulefile"
    r"|module: command not found",
)
COMMAND = Cause(
    "a command was not found",
    "cluster.python names the jobs' interpreter, cluster.setup and cluster.modules what is loaded before, as a node sees it",
    r"command not found|execve\(\): .*No such file|srun: .*: No such file or directory|bad interpreter|env: .*: No such file",
)
IMPORT = Cause(
    "a Python package is missing or does not fit",
    "`longview doctor` lists the packages and what belongs together; install it in the environment the jobs use",
    r"\b(ModuleNotFoundError|ImportError)\b|: No module named |undefined symbol|GLIBC(XX)?_\S+' not found",
)
CODE_GONE = Cause(
    "the copy of the code is gone",
    "it was purged: submit the run again with the command that made it",
    r"copy of the code, .* is gone",
)
DIRECTORY_GONE = Cause(
    "the run directory is gone", "it was moved, deleted or purged: submit the run again", r"the run directory .* is gone"
)
STAGING = Cause(
    "the data could not be copied to the nodes",
    "`longview logs <run> --batch` names the file; if node-local disks are too small, submit it again with launch.stage=false",
    r"the data could not be staged",
)
LAUNCH = Cause(
    "SLURM could not start the ranks",
    "read `longview logs <run> --batch`; if a node is to blame, exclude it (launch.sbatch={exclude: <node>}) and"
    " `longview resume <run>`",
    r"srun: error: (Unable to (create step|confirm allocation)|Task launch .* failed|.*Application launch failed)"
    r"|slurm_load_partitions|Requested node configuration is not available",
)
ILLEGAL = Cause(
    "illegal instruction: software built for another kind of processor",
    "load the node type's own software stack (cluster.modules) and make the environment on such a node",
    r"Illegal instruction",
)
SEGFAULT = Cause(
    "a crash in compiled code (segmentation fault)",
    "often packages that do not fit: `longview doctor`; PYTHONFAULTHANDLER=1 in cluster.env shows where",
    r"Segmentation fault",
)
ABORTED = Cause(
    "a library gave up (abort)", "its last words are in `longview logs <run> --rank all`", r"\bAborted\b|terminate called after"
)
KILLED = Cause(
    "killed from outside (SIGKILL), most often for memory",
    "if memory grew: lower loader.num_workers or loader.batch_size, or raise resources.memory_gb; else ask the site's support",
    r"\bKilled\b|SIGKILL|signal 9",
)
BAD_INPUT = Cause("bad input", "the message says what would be right; then give the run's command again")
PYTHON = Cause(
    "an error in Python", "the line above (at:) is the last one of your own code; also: names the file of the traceback"
)

TIMEOUT = Cause("the time limit was reached", f"{_AGAIN}; resources.time sets the limit of an attempt")
NODE_FAILURE = Cause("a node failed", _AGAIN)
PREEMPTED = Cause("a job of higher priority took the nodes", _AGAIN)
CANCELLED = Cause("it was cancelled", _AGAIN)
STOPPED = Cause("it was asked to stop, and saved", _AGAIN)
LOST = Cause(
    "its job is gone without a word",
    f"a node may have lost power, or SLURM its records: {_AGAIN}",
)
PROCESS_LOST = Cause(
    "its process is gone without a word",
    "killed from outside, or the machine went down: go on with python run.py run.resume=<run directory>",
)
UNKNOWN = Cause("it cannot be known from here", "ask again on a login node of the cluster, or when SLURM answers")
UNEXPLAINED = Cause(
    "its records do not say why",
    "the last lines of its logs may: `longview logs <run> --rank all`, `longview logs <run> --batch`",
)

ENDED_ITSELF = Cause(
    "a rank ended by itself",
    "no error of Python is on record: something it called ended the process; `longview logs <run> --rank all` has its last words",
)

TEXTS: Sequence[Cause] = (
    GPU_MEMORY, DISK, CODE_GONE, DIRECTORY_GONE, STAGING, MODULE, BAD_DATA, CHECKPOINT, OUT_OF_MEMORY, GPU, SHARED_MEMORY,
    IMPORT, RENDEZVOUS, NOT_A_NUMBER, ILLEGAL, SEGFAULT, LAUNCH, COMMAND, COMMUNICATION,
)  # fmt: skip
"""Causes that are told by what was said, the more telling first."""

CODES = {2: BAD_INPUT, 126: COMMAND, 127: COMMAND, 132: ILLEGAL, 134: ABORTED, 135: SHARED_MEMORY, 137: KILLED, 139: SEGFAULT}
"""Exit codes that tell a cause by themselves."""

SECONDARY = re.compile(
    r"Connection (closed|reset) by peer|Connection refused|Broken pipe|Socket closed|remote process has terminated"
    r"|peer .*(gone|exited|died)|Read error|recvValue failed|failed to recv|Stop_waiting|store.*(closed|unreachable)"
    r"|NCCL communicator was aborted|Watchdog caught|another rank|Timed out waiting \d+ms for (recv|send)|ncclRemoteError",
    re.IGNORECASE,
)
"""What a rank says whose peer has failed: never the first error."""


def told_by(text: str, among: Sequence[Cause] = TEXTS) -> Cause | None:
    """The cause a text tells of, if it is one of those."""
    return next((cause for cause in among if cause.pattern and re.search(cause.pattern, text)), None)


_COMMANDS = (
    r"execve\(\): (\S+): ",
    r"([^\s:]+): command not found",
    r"(\S+): bad interpreter",
    r"env: \W*([\w./+-]+)\W*: No such file",
    r"([^\s:]+): No such file or directory",
)


def command_in(text: str) -> str:
    """The command that a message says is not there; "" if it names none."""
    return next((found[1] for pattern in _COMMANDS if (found := re.search(pattern, text))), "")
