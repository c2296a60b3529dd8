//! What other libraries call our kinds, parameters and words: the hints of errors, one row a spelling.
//!
//! None of these is accepted. A name that means something else elsewhere, or one of several things here, is for the
//! caller to choose; what means the same everywhere is an alias in the row of its kind.

/// The words that mean the same as some of ours, and what else a caller has to know.
struct Row(&'static str, &'static [&'static str], &'static str);

/// Endings that say what sort of thing a name is.
const ENDINGS: [&str; 10] =
    ["loss", "1d", "2d", "3d", "initializer", "initialization", "init", "activation", "connections", "connection"];

const SIGMOID_INSIDE: &str = "it takes outputs without a sigmoid";
const SOFTMAX_INSIDE: &str = "it takes outputs without a softmax";

/// Spellings in small letters without separators or an ending. The first row whose answer is to be had counts.
static TABLE: &[Row] = &[
    // Activations.
    Row("swish", &["silu"], ""),
    Row("logistic", &["sigmoid"], ""),
    Row("expit", &["sigmoid"], ""),
    Row("sigm", &["sigmoid"], ""),
    Row("identity", &["linear", "eye", "residual"], ""),
    Row("none", &["linear"], ""),
    Row("id", &["linear"], ""),
    Row("no", &["linear"], ""),
    Row("lrelu", &["leaky_relu"], ""),
    Row("leaky", &["leaky_relu"], ""),
    Row("parametricrelu", &["prelu"], ""),
    Row("randomizedrelu", &["rrelu"], ""),
    Row("rectifier", &["relu"], ""),
    Row("rectifiedlinear", &["relu"], ""),
    Row("rectified", &["relu"], ""),
    Row("concatrelu", &["crelu"], ""),
    Row("clippedrelu", &["relu6"], ""),
    Row("exponentiallinear", &["elu"], ""),
    Row("hypertan", &["tanh"], ""),
    Row("hyperbolictangent", &["tanh"], ""),
    Row("htanh", &["hardtanh"], ""),
    Row("clip", &["hardtanh"], ""),
    Row("hsigmoid", &["hardsigmoid"], ""),
    Row("hardsilu", &["hardswish"], ""),
    Row("hswish", &["hardswish"], ""),
    Row("atan", &["arctan"], ""),
    Row("sine", &["sin"], ""),
    Row("siren", &["sin"], ""),
    Row("absolute", &["abs"], ""),
    Row("modulus", &["abs"], ""),
    Row("sparseplus", &["squareplus"], "the nearest there is"),
    Row("gelunew", &["gelu(tanh)"], ""),
    Row("gelutanh", &["gelu(tanh)"], ""),
    Row("gelupytorchtanh", &["gelu(tanh)"], ""),
    Row("quickgelu", &["silu"], "it is silu(1.702 z) / 1.702"),
    // Inits.
    Row("he", &["kaiming_normal", "kaiming_uniform", "he_normal"], "he_normal is Keras's, truncated"),
    Row("kaiming", &["kaiming_normal", "kaiming_uniform"], ""),
    Row("msra", &["kaiming_normal"], ""),
    Row("heuniform", &["kaiming_uniform"], ""),
    Row("xavier", &["xavier_normal", "xavier_uniform"], ""),
    Row("glorot", &["xavier_normal", "xavier_uniform", "glorot_normal"], "glorot_normal is Keras's, truncated"),
    Row("glorotuniform", &["xavier_uniform"], ""),
    Row("lecun", &["lecun_normal", "lecun_uniform"], ""),
    Row("randomnormal", &["normal"], "its std is 1 unless given"),
    Row("randn", &["normal"], ""),
    Row("gaussian", &["normal"], ""),
    Row("standardnormal", &["normal"], ""),
    Row("random", &["normal", "uniform"], ""),
    Row("gauss", &["normal"], ""),
    Row("randomuniform", &["uniform"], "its bounds are a=0 and b=1 unless given"),
    Row("rand", &["uniform"], ""),
    Row("truncatednormal", &["trunc_normal"], "its std is 1 and its bounds are numbers"),
    Row("truncnorm", &["trunc_normal"], ""),
    Row("zero", &["zeros"], ""),
    Row("0", &["zeros"], ""),
    Row("one", &["ones"], ""),
    Row("1", &["ones"], ""),
    Row("const", &["constant(value=0.1)"], ""),
    Row("fill", &["constant(value=0.1)"], ""),
    Row("full", &["constant(value=0.1)"], ""),
    Row("orthogonalize", &["orthogonal"], ""),
    Row("orth", &["orthogonal"], ""),
    Row("deltaorthogonal", &["orthogonal"], ""),
    Row("dirac", &["eye"], ""),
    Row("varscaling", &["variance_scaling"], ""),
    Row("torch", &["torch_default"], ""),
    Row("pytorch", &["torch_default"], ""),
    Row("default", &["torch_default"], "torch's; leave the field out for that of vgcore"),
    // Norms.
    Row("batchnorm", &["batch"], ""),
    Row("batchnormalization", &["batch"], ""),
    Row("bn", &["batch"], ""),
    Row("layernorm", &["layer"], ""),
    Row("layernormalization", &["layer"], ""),
    Row("ln", &["layer"], ""),
    Row("rmsnorm", &["rms"], ""),
    Row("rmsnormalization", &["rms"], ""),
    Row("rootmeansquare", &["rms"], ""),
    Row("group", &["layer"], "the nearest there is: one group"),
    Row("instance", &["layer"], "the nearest there is"),
    Row("groupnorm", &["layer"], "the nearest there is: one group"),
    Row("gn", &["layer"], "the nearest there is: one group"),
    Row("instancenorm", &["layer"], "the nearest there is"),
    // Skips.
    Row("resnet", &["residual"], ""),
    Row("res", &["residual"], ""),
    Row("skip", &["residual", "add"], ""),
    Row("shortcut", &["residual", "add"], ""),
    Row("add", &["residual"], ""),
    Row("sum", &["residual", "add"], ""),
    Row("preact", &["residual(order=pre)", "pre"], ""),
    Row("preactivation", &["residual(order=pre)", "pre"], ""),
    Row("preresnet", &["residual(order=pre)"], ""),
    Row("resnetv2", &["residual(order=pre)"], ""),
    Row("skipinit", &["rezero"], ""),
    Row("densenet", &["dense"], ""),
    Row("concat", &["dense"], ""),
    Row("concatenate", &["dense", "concat"], ""),
    Row("cat", &["dense", "concat"], ""),
    Row("highwaynet", &["highway"], ""),
    Row("highwaynetwork", &["highway"], ""),
    Row("gated", &["highway"], ""),
    // Weight transforms.
    Row("standardize", &["weight_standardization"], ""),
    Row("ws", &["weight_standardization"], ""),
    Row("weightstandardize", &["weight_standardization"], ""),
    Row("weightnorm", &["weight_standardization", "spectral_norm"], "the nearest there are"),
    Row("spectral", &["spectral_norm"], ""),
    Row("spectralnormalization", &["spectral_norm"], ""),
    Row("sn", &["spectral_norm"], ""),
    // Losses.
    Row("bce", &["bce_with_logits"], SIGMOID_INSIDE),
    Row("binarycrossentropy", &["bce_with_logits"], SIGMOID_INSIDE),
    Row("binarycrossentropywithlogits", &["bce_with_logits"], SIGMOID_INSIDE),
    Row("binary", &["bce_with_logits"], SIGMOID_INSIDE),
    Row("sigmoidcrossentropy", &["bce_with_logits"], ""),
    Row("sigmoidbinarycrossentropy", &["bce_with_logits"], ""),
    Row("logistic", &["bce_with_logits"], SIGMOID_INSIDE),
    Row("ce", &["cross_entropy"], SOFTMAX_INSIDE),
    Row("xent", &["cross_entropy"], SOFTMAX_INSIDE),
    Row("crossent", &["cross_entropy"], SOFTMAX_INSIDE),
    Row("categoricalcrossentropy", &["cross_entropy"], SOFTMAX_INSIDE),
    Row("sparsecategoricalcrossentropy", &["cross_entropy"], SOFTMAX_INSIDE),
    Row("softmaxcrossentropy", &["cross_entropy"], ""),
    Row("softmaxcrossentropywithintegerlabels", &["cross_entropy"], ""),
    Row("softmax", &["cross_entropy"], ""),
    Row("nll", &["cross_entropy"], "it takes outputs without a log-softmax"),
    Row("negativeloglikelihood", &["cross_entropy"], "it takes outputs without a log-softmax"),
    Row("log", &["cross_entropy", "bce_with_logits"], ""),
    Row("kl", &["cross_entropy"], "the nearest there is: on class ids they are equal"),
    Row("kldiv", &["cross_entropy"], "the nearest there is: on class ids they are equal"),
    Row("kldivergence", &["cross_entropy"], "the nearest there is: on class ids they are equal"),
    Row("l2", &["mse", "half_mse"], ""),
    Row("squared", &["mse", "half_mse"], ""),
    Row("squarederror", &["mse", "half_mse"], ""),
    Row("square", &["mse", "half_mse"], ""),
    Row("quadratic", &["mse", "half_mse"], ""),
    Row("meansquarederror", &["mse"], ""),
    Row("meansquared", &["mse"], ""),
    Row("rmse", &["mse"], "the nearest there is"),
    Row("rootmeansquarederror", &["mse"], "the nearest there is"),
    Row("l1", &["mae"], ""),
    Row("meanabsoluteerror", &["mae"], ""),
    Row("absoluteerror", &["mae"], ""),
    Row("absolute", &["mae"], ""),
    Row("smoothl1", &["huber"], "the same for delta = beta = 1"),
    Row("logcosh", &["huber"], "the nearest there is"),
    Row("maxmargin", &["hinge"], ""),
    Row("svm", &["hinge"], ""),
    // Parameters.
    Row("stddev", &["std"], ""),
    Row("standarddeviation", &["std"], ""),
    Row("sd", &["std"], ""),
    Row("sigma", &["std", "sigma_w"], ""),
    Row("scale", &["std", "gain"], ""),
    Row("loc", &["mean"], ""),
    Row("mu", &["mean"], ""),
    Row("minval", &["a"], ""),
    Row("maxval", &["b"], ""),
    Row("low", &["a"], ""),
    Row("high", &["b"], ""),
    Row("lower", &["a"], ""),
    Row("upper", &["b"], ""),
    Row("lowerbound", &["a"], ""),
    Row("upperbound", &["b"], ""),
    Row("min", &["a", "min_val"], ""),
    Row("max", &["b", "max_val"], ""),
    Row("val", &["value"], ""),
    Row("c", &["value"], ""),
    Row("fillvalue", &["value"], ""),
    Row("alpha", &["negative_slope", "a"], ""),
    Row("slope", &["negative_slope", "a"], ""),
    Row("negslope", &["negative_slope"], ""),
    Row("leak", &["negative_slope"], ""),
    Row("leakiness", &["negative_slope"], ""),
    Row("lambda", &["lambd"], ""),
    Row("epsilon", &["eps"], ""),
    Row("varianceepsilon", &["eps"], ""),
    Row("smoothing", &["label_smoothing"], ""),
    Row("beta", &["delta", "alpha"], ""),
    Row("w0", &["omega"], ""),
    Row("omega0", &["omega"], ""),
    Row("frequency", &["omega"], ""),
    Row("sigmaw", &["sigma_w"], ""),
    Row("sigmab", &["sigma_b"], ""),
    // Words of parameters and of fields.
    Row("avg", &["mean", "fan_avg"], ""),
    Row("average", &["mean", "fan_avg"], ""),
    Row("fanaverage", &["fan_avg"], ""),
    Row("batchmean", &["mean"], ""),
    Row("sumoverbatchsize", &["mean"], ""),
    Row("fanin", &["fan_in"], ""),
    Row("fanout", &["fan_out"], ""),
    Row("normal", &["untruncated_normal", "truncated_normal"], ""),
    Row("before", &["pre"], ""),
    Row("prenorm", &["pre"], ""),
    Row("after", &["post"], ""),
    Row("postnorm", &["post"], ""),
    Row("all", &["every"], ""),
    // Fields of a net.
    Row("layers", &["depth"], ""),
    Row("numlayers", &["depth"], ""),
    Row("nlayers", &["depth"], ""),
    Row("hiddenlayers", &["depth"], ""),
    Row("units", &["width"], ""),
    Row("hidden", &["width"], ""),
    Row("hiddensize", &["width"], ""),
    Row("hiddendim", &["width"], ""),
    Row("hiddenlayersizes", &["width"], ""),
    Row("inputdim", &["in_features"], ""),
    Row("inputsize", &["in_features"], ""),
    Row("inputshape", &["in_features"], ""),
    Row("indim", &["in_features"], ""),
    Row("inchannels", &["in_features"], ""),
    Row("outputdim", &["out_features"], ""),
    Row("outputsize", &["out_features"], ""),
    Row("outdim", &["out_features"], ""),
    Row("numclasses", &["out_features"], ""),
    Row("nclasses", &["out_features"], ""),
    Row("classes", &["out_features"], ""),
    Row("nonlinearity", &["activation"], ""),
    Row("act", &["activation"], ""),
    Row("kernel", &["init"], ""),
    Row("weight", &["init"], ""),
    Row("usebias", &["bias"], ""),
    Row("normalization", &["norm"], ""),
    Row("residual", &["skip", "add"], ""),
    Row("recurrent", &["tied"], ""),
];

/// A spelling in small letters, without the module it comes from and without separators.
fn plain(spelling: &str) -> String {
    let last = spelling.trim().rsplit('.').next().unwrap_or_default();
    last.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The choices that a name may stand for, written as they are to be, and what else to know of them.
fn meant<'a>(given: &str, choices: impl Iterator<Item = &'a str> + Clone) -> (Vec<&'a str>, &'static str) {
    let whole = plain(given);
    let short = ENDINGS.iter().find_map(|ending| whole.strip_suffix(ending).filter(|rest| !rest.is_empty()));
    let spellings = [Some(whole.as_str()), short];
    let spellings = spellings.into_iter().flatten();
    for spelling in spellings.clone() {
        if let Some(choice) = choices.clone().find(|choice| plain(choice) == spelling) {
            return (vec![choice], "");
        }
    }
    let there = |answer: &&str| choices.clone().any(|choice| answer.split('(').next() == Some(choice));
    for spelling in spellings {
        for Row(_, answers, note) in TABLE.iter().filter(|row| row.0 == spelling) {
            let answers = answers.iter().copied().filter(there).collect::<Vec<_>>();
            if !answers.is_empty() {
                return (answers, note);
            }
        }
    }
    let near = choices
        .map(|name| (strsim::damerau_levenshtein(&given.to_lowercase(), name), name))
        .min()
        .filter(|&(distance, name)| distance <= 1 + name.len() / 3);
    (near.into_iter().map(|(_, name)| name).collect(), "")
}

/// What a name may stand for, as ` (did you mean 'relu'?)`; empty where nothing is near.
pub fn hint<'a>(given: &str, choices: impl Iterator<Item = &'a str> + Clone) -> String {
    /// Bytes beyond which a text is no misspelt name: to compare takes as long as both texts multiplied.
    const LONGEST: usize = 100;
    // A page lets its reader choose from lists, where nothing is misspelt.
    if cfg!(target_family = "wasm") {
        return String::new();
    }
    let (answers, note) = if given.len() > LONGEST { (Vec::new(), "") } else { meant(given, choices) };
    let quoted = answers.iter().map(|answer| format!("'{answer}'")).collect::<Vec<_>>();
    let note = if note.is_empty() { String::new() } else { format!(" {note}") };
    match quoted.as_slice() {
        [] => String::new(),
        [one] => format!(" (did you mean {one}?{note})"),
        [others @ .., last] => format!(" (did you mean {} or {last}?{note})", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_as_it_is_written_and_stands_once_for_an_answer() {
        let mut seen = Vec::new();
        for Row(spelling, answers, _) in TABLE {
            assert_eq!(plain(spelling), *spelling);
            for answer in *answers {
                assert!(!seen.contains(&(spelling, answer)), "{spelling} {answer}");
                seen.push((spelling, answer));
                let name = answer.split('(').next().unwrap();
                assert!(hint(spelling, std::iter::once(name)).contains(answer), "{spelling} {answer}");
            }
        }
    }

    #[test]
    fn case_separators_modules_and_endings_do_not_matter() {
        let names = ["leaky_relu", "relu", "mse", "batch", "kaiming_normal", "zeros"];
        for (given, name) in [
            ("LeakyReLU", "leaky_relu"),
            ("leaky-relu", "leaky_relu"),
            ("Leaky ReLU", "leaky_relu"),
            ("torch.nn.LeakyReLU", "leaky_relu"),
            ("MSELoss", "mse"),
            ("BatchNorm1d", "batch"),
            ("zeros_", "zeros"),
            ("ZerosInitializer", "zeros"),
        ] {
            assert_eq!(hint(given, names.into_iter()), format!(" (did you mean '{name}'?)"), "{given}");
        }
    }

    #[test]
    fn several_answers_and_notes_are_told_and_what_is_not_to_be_had_is_not() {
        let inits = ["xavier_normal", "xavier_uniform"];
        assert_eq!(hint("Xavier", inits.into_iter()), " (did you mean 'xavier_normal' or 'xavier_uniform'?)");
        assert_eq!(hint("xavier", inits.into_iter().take(1)), " (did you mean 'xavier_normal'?)");
        let hinted = hint("bce", ["mse", "bce_with_logits"].into_iter());
        assert_eq!(hinted, " (did you mean 'bce_with_logits'? it takes outputs without a sigmoid)");
        assert_eq!(hint("bce", ["softplus"].into_iter()), "");
    }
}
