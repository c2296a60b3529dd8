"""Values that suit a parameter, by its name, and objects to call methods of, by their class: all as Python source."""

from __future__ import annotations

import vgcore as vg

NET = "vg.MLP(depth=2, width=4)"
DEEP = "vg.MLP(depth=5, width=4, out_features=3, activation='tanh', init='xavier_normal')"
SPECS = (
    NET,
    DEEP,
    "vg.MLP(depth=1, width=1, activation='sigmoid')",
    "vg.MLP(depth=2, width=[4, 6], in_features=4, activation=['relu', 'leaky_relu(0.1)'])",
    "vg.MLP(depth=4, width=4, norm='batch', skip='residual(order=pre)', block=2, branch_scale='1/sqrt(L)')",
    "vg.MLP(depth=3, width=4, tied=True, inputs='every', activation='tanh', init='orthogonal')",
    "vg.MLP(depth=3, width=4, skip='highway', norm='layer', activation='prelu')",
    "vg.MLP(depth=2, width=4, weight_transform='spectral_norm', init='mean_field(1.5, 0.05)')",
    "vg.MLP(depth=2, width=4, activation='swiglu', init='lsuv', norm='rms', norm_position='post')",
    "vg.MLP(depth=2, width=4, activation=vg.Activation.from_samples('ramp', [-1, 0, 1], [0, 0, 1]))",
)
NETWORKS = (
    f"{NET}.init(seed=0)",
    f"{DEEP}.init(seed=0, dtype='float64')",
    "vg.MLP(depth=3, width=4, norm='layer').init()",
)
LOSSES = ("None", *map(repr, vg.LOSSES), "vg.Loss('huber', delta=0.5)", "'cross_entropy(label_smoothing=0.1)'")
PROBES = (
    f"vg.probe({NET}, seeds=2, batch=8)",
    f"vg.probe({DEEP}, seeds=3, x=np.eye(4), y=[0, 1, 2, 0])",
    f"vg.probe({DEEP}.init(seed=0))",
)
SWEEPS = (
    f"vg.sweep({NET}, depth=[2, 4], activation=['tanh', 'relu'], seeds=2, batch=8)",
    f"vg.sweep({NET}, seeds=1, batch=4)",
)
DIAGNOSES = (f"vg.diagnose({NET}, seeds=2, batch=8)", f"vg.diagnose({SWEEPS[0]})")
GRADIENTS = (
    f"{NETWORKS[0]}.gradients(np.eye(4), np.eye(4), loss='mse')",
    "[np.array([3.0, 4.0]), np.ones((2, 2), np.float32)]",
    "{'a.weight': np.array([[3.0, 4.0]]), 'a.bias': np.array([12.0])}",
)
PREDICTIONS = ("vg.theory.predict(vg.MLP(depth=4, width=64, activation='tanh', init='mean_field(1.5, 0.05)'))",)
ACTIVATIONS = ("'tanh'", "'relu'", "'leaky_relu(0.1)'", "'gelu'", "vg.Activation('elu', alpha=0.5)", "'sin'", "'selu'")
INITS = ("'kaiming_normal'", "'xavier_normal(gain=2)'", "vg.Init('mean_field', sigma_w=1.5)", "'orthogonal'", "'lsuv'")
JACOBIANS = (f"vg.jacobian({NET})",)
PHASES = ("vg.theory.phase_diagram('tanh', sigma_w=[0.5, 1.5], sigma_b=[0.0, 0.5])",)
POSITIVE = ("1.0", "0.5", "[0.5, 1.0, 2.0]", "np.linspace(0.5, 2.0, 4)", "np.float32(1.5)")
ALONE = ("1.0", "0.5", "2", "np.float32(1.5)", "1e-3")
FLAGS = ("True", "False", "np.True_")
AXES = ("None",)
SEEDS = ("0", "1", "2**64 - 1", "np.uint64(7)")
DTYPES = ("'float32'", "'float64'")
THREADS = ("1", "2", "None")
X = (
    "None",
    "np.eye(4)",
    "np.ones((5, 4), np.float32)",
    "[[1.0, 2.0, 3.0, 4.0]]",
    "np.arange(20.0).reshape(5, 4)[:, ::-1]",
)
Y = ("None", "[0, 1, 2, 0]", "np.eye(4)", "np.ones((5, 4))", "['a', 'b', 'a', 'b']", "np.zeros((4, 3))")
SIGNALS = ("'forward'", "'backward'", "'weight'")
PATHS = (
    "file('t.csv', 'a;b;c\\n1;2;x\\n3;4;y\\n')",
    "file('t.csv', '1,2,3\\n4,5,6\\n')",
    "file('t.tsv', 'a\\tb\\n1\\t2\\n')",
    "npz('t.npz', x=np.eye(3), y=np.arange(3))",
    "Path(file('t.csv', 'a,b\\n1,2\\n'))",
)

#: By the name of a parameter, or by that of the function and the parameter.
VALUES: dict[str, tuple[str, ...]] = {
    "spec": SPECS,
    "subject": (*SPECS, *NETWORKS, PROBES[0]),
    "depth": ("1", "2", "5", "np.int64(3)"),
    "width": ("4", "1", "7", "[4, 4]"),
    "in_features": ("None", "4"),
    "out_features": ("None", "3", "1"),
    "activation": ACTIVATIONS,
    "init": INITS,
    "bias": ("None", "'zeros'", "'normal(0, 0.1)'"),
    "norm": ("None", "'batch'", "'layer(eps=1e-3)'", "vg.Norm('rms')"),
    "norm_chi.norm": ("'batch'", "'layer'", "'rms'"),
    "norm_position": ("'pre'", "'post'"),
    "skip": ("None", "'residual'", "'highway(gate_bias=-2)'", "vg.Skip('dense')"),
    "clip_adaptive.skip": ("('readout',)", "()", "'layers.0'"),
    "branch_scale": ("1.0", "0.5", "'1/sqrt(L)'"),
    "block": ("1", "2"),
    "weight_transform": ("None", "'weight_standardization'"),
    "tied": FLAGS,
    "inputs": ("'first'", "'every'"),
    "x": X,
    "y": Y,
    "loss": LOSSES,
    "batch": ("8", "1", "5", "None"),
    "norm_chi.batch": ("8", "inf", "2"),
    "predict.batch": ("8", "128"),
    "gradcheck.batch": ("4", "1"),
    "seeds": ("1", "2", "3"),
    "seed": SEEDS,
    "dtype": DTYPES,
    "threads": THREADS,
    "data": ("None", "np.eye(4)", "(np.eye(4), [0, 1, 2, 0])"),
    "budget": ("2", "1"),
    "keep": ("()", "'norm'", "['activation', 'init']"),
    "fail_on": ("'warning'", "'critical'", "'info'"),
    "rules": ("'vgcore'",),
    "thresholds": ("None",),
    "explain": FLAGS,
    "progress": ("False",),
    "param": ("None", "0.1"),
    "mode": ("None", "'torch'"),
    "grads": GRADIENTS,
    "params": (NETWORKS[0], "[np.ones(2), np.ones((2, 2))]", "{'a.weight': np.ones((1, 2)), 'a.bias': np.ones(1)}"),
    "max_norm": ALONE,
    "norm_type": ("2.0", "1", "inf"),
    "clip_value": ALONE,
    "clipping": ALONE,
    "eps": ALONE,
    "per_layer": FLAGS,
    "error_if_nonfinite": FLAGS,
    "signal": SIGNALS,
    "severity": ("'warning'", "'critical'", "'info'"),
    "k": ("1", "2", "5"),
    "changes": ("depth=3", "activation='tanh', skip=None", "norm='batch'"),
    "grid": ("depth=[2, 4]", "activation=['tanh', 'relu'], norm=[None, 'layer']", "skip=(None, 'residual')"),
    "options": ("seeds=2, batch=8", "seed=1, seeds=2"),
    "text": (f"{NET}.to_json()", f"{SPECS[-1]}.to_json()", f"{DEEP}.to_json()"),
    "state": (f"state({NET})", f"state({DEEP})"),
    "weights": (f"{NETWORKS[0]}._weights",),
    "cotangent": ("np.ones((4, 4))", "np.eye(4)"),
    "name": ("'relu'", "'kaiming_normal'", "'batch'", "'residual'", "'mse'", "'bump'"),
    "f": ("np.tanh", "math.tanh", "lambda z: z * z", "lambda z: 1.0"),
    "df": ("None", "lambda z: 1 - np.tanh(z) ** 2"),
    "low": ("-4.0", "-1"),
    "high": ("4.0", "1"),
    "tolerance": ("1e-3", "1e-6"),
    "kinks": ("()", "[0.5]", "(0,)"),
    "z": ("[-1, 0, 1]", "np.linspace(-2, 2, 9)"),
    "values": ("[0, 0, 1]", "np.linspace(-2, 2, 9)"),
    "slopes": ("None", "[0, 0, 1]"),
    "path": PATHS,
    "save.path": ("'out.csv'", "Path('out.json')", "'out.parquet'"),
    "target": ("None", "0", "-1", "'b'", "'y'"),
    "standardize": FLAGS,
    "q": POSITIVE,
    "c": ("0.0", "0.5", "[-1.0, 0.0, 1.0]", "np.linspace(-0.9, 0.9, 4)"),
    "critical_line.q": ("[0.5, 1.0]", "np.linspace(0.1, 2.0, 5)"),
    "jacobian_variance.q": ALONE,
    "sigma_w": POSITIVE,
    "sigma_b": ("0.0", "0.3", "[0.0, 0.5, 1.0]"),
    "critical_point.sigma_b": ("0.0", "0.1"),
    "gradient_noise.sigma_w": ("1.0", "1.5"),
    "gradient_noise.sigma_b": ("0.0", "0.3"),
    "gradient_noise.width": ("64", "[16, 64]"),
    "lyapunov_exponents.sigma_w": ("1.0", "1.5"),
    "depth_limit.sigma_b": ("0.0", "0.1"),
    "depth_limit.sigma_w": ("None", "[0.5, 1.0, 1.5, 2.0]"),
    "phase_diagram.sigma_w": ("None", "[0.5, 1.0, 1.5]"),
    "phase_diagram.sigma_b": ("None", "[0.0, 0.5]"),
    "phase_diagram.activation": ("'tanh'", "'erf'", *PHASES),
    "count": ("4", "8"),
    "orthogonal": FLAGS,
    "probe": PROBES,
    "names": ("['log10_z_rms']", "['saturated', 'dead']"),
    "layers": ("()", "[0]", "[0, 1]"),
    "ax": AXES,
    "points": ("()", f"[{DIAGNOSES[0]}]", f"[{PROBES[0]}]"),
    "sweep": (*SWEEPS, PROBES[0]),
    "value": SIGNALS,
    "probes": (*PROBES, SWEEPS[0]),
    "theory": ("None", *PREDICTIONS),
    "jacobians": (*JACOBIANS, f"{{'a': {JACOBIANS[0]}}}"),
    "read_sweep.path": tuple(f"saved({SWEEPS[0]}, 't{ending}')" for ending in (".csv", ".json")),
    "s": (*SWEEPS, PROBES[0]),
    "run": ("lying(log=None)", "'0123456789abcdef'"),
    "writer": ("lying(add_scalar=None, add_text=None)",),
    "step": ("None", "3"),
    "requested_schema": ("None",),
    # Of sweeps that are kept in a store or run elsewhere.
    "store": ("None", "'runs.vg'", "stored('runs.vg')"),
    "shard": ("None", "'1/3'"),
    "executor": ("None",),
    "retry_failed": FLAGS,
    "paths": ("stored('runs.vg')", "[stored('runs.vg')]", "spoiled(stored('runs.vg'), 0.6, 1)"),
    "fields": ("2", "[2, 4]", "'tanh'"),
}

#: Objects of a class, whose methods and operators are called.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "MLP": SPECS,
    "Activation": ("vg.Activation('leaky_relu(0.1)')", "vg.Activation.from_samples('ramp', [-1, 0, 1], [0, 0, 1])"),
    "Init": ("vg.Init('xavier_normal')", f"{NET}.init"),
    "Loss": ("vg.Loss('huber', delta=0.5)",),
    "Norm": ("vg.Norm('batch')",),
    "Skip": ("vg.Skip('residual(order=pre)')",),
    "Advice": ("advised()[0]",),
    "Advised": ("advised()",),
    "Clipped": (f"vg.clip_grad_norm({GRADIENTS[1]}, 1.0)",),
    "DepthLimit": ("vg.diagnose(vg.MLP(depth=30, width=16, activation='sigmoid'), seeds=2).depth_limit",),
    "Diagnosis": DIAGNOSES,
    "Factor": (f"{PROBES[0]}.factor('forward')",),
    "Finding": ("vg.diagnose(vg.MLP(depth=30, width=16, activation='sigmoid'), seeds=2).findings[0]",),
    "Gradients": GRADIENTS[:1],
    "Jacobian": JACOBIANS,
    "Network": NETWORKS,
    "Probe": PROBES,
    "Sweep": SWEEPS,
    "CriticalLine": ("vg.theory.critical_line('tanh', q=[0.5, 1.0])",),
    "CriticalPoint": ("vg.theory.critical_point('tanh')",),
    "DepthScales": ("vg.theory.depth_scales('tanh', sigma_w=1.5, sigma_b=0.1)",),
    "PhaseDiagram": PHASES,
    "Prediction": PREDICTIONS,
}


def of(function: str, parameter: str) -> tuple[str, ...]:
    """Sound values of a parameter; none where nobody has said any yet."""
    last = function.rpartition(".")[2]
    for key in (f"{function.removeprefix('vg.')}.{parameter}", f"{last}.{parameter}", parameter):
        if key in VALUES:
            return VALUES[key]
    return ()
