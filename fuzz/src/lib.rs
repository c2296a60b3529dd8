//! What the targets share: nets from lines of text, so that a corpus can be read and a dictionary helps.

use vgcore::spec::{BranchScale, PerLayer, MlpRequest};

/// The net that lines such as `width=4 5` and `skip=residual(order=pre)` describe; what they do not name is as usual.
pub fn request(text: &str) -> MlpRequest {
    let mut request = MlpRequest::new(2, 4);
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let word = || Some(value.to_owned());
        match key {
            "depth" => request.depth = value.parse().unwrap_or(request.depth),
            "width" => request.width = per_layer(value.split(' ').filter_map(|n| n.parse().ok()).collect(), 4),
            "in_features" => request.in_features = value.parse().ok(),
            "out_features" => request.out_features = value.parse().ok(),
            "activation" => request.activation = per_layer(words(value), String::new()),
            "init" => request.init = per_layer(words(value), String::new()),
            "bias" => request.bias = word(),
            "norm" => request.norm = word(),
            "norm_position" => value.clone_into(&mut request.norm_position),
            "skip" => request.skip = word(),
            "branch_scale" => {
                let text = || BranchScale::Text(value.to_owned());
                request.branch_scale = value.parse().map_or_else(|_| text(), BranchScale::Number);
            }
            "block" => request.block = value.parse().unwrap_or(request.block),
            "weight_transform" => request.weight_transform = word(),
            "tied" => request.tied = value == "true",
            "inputs" => value.clone_into(&mut request.inputs),
            _ => {}
        }
    }
    request
}

fn words(value: &str) -> Vec<String> {
    value.split('|').map(ToOwned::to_owned).collect()
}

/// One value for all layers, or one a layer.
fn per_layer<T>(mut values: Vec<T>, none: T) -> PerLayer<T> {
    match values.len() {
        0 => PerLayer::All(none),
        1 => PerLayer::All(values.remove(0)),
        _ => PerLayer::Each(values),
    }
}

/// Is the net small enough to be made thousands of times a second?
pub fn small(request: &MlpRequest) -> bool {
    let narrow = |width: &Option<i128>| width.is_none_or(|n| n <= 8);
    request.depth <= 6
        && request.width.values().iter().all(|n| *n <= 8)
        && narrow(&request.in_features)
        && narrow(&request.out_features)
}
