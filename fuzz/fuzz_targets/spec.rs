//! Any text is a call or an error; any request is a spec or an error; and the canonical text of a kind says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;
use vgcore::activation::Activation;
use vgcore::error::Result;
use vgcore::init::Init;
use vgcore::kind::{Kind, Row};
use vgcore::loss::Loss;
use vgcore::norm::Norm;
use vgcore::plan::Plan;
use vgcore::signature::Call;
use vgcore::skip::Skip;
use vgcore::spec::Spec;
use vgcore_fuzz::{request, small};

fn kind<R: Row>(parse: fn(&str) -> Result<Kind<R>>, text: &str) {
    match parse(text) {
        Ok(kind) => {
            let again = parse(&kind.text()).expect("the canonical text is a text");
            assert_eq!(kind.text(), again.text());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Call::parse("kind", text);
    kind(Activation::parse, text);
    kind(Init::parse, text);
    kind(Norm::parse, text);
    kind(Skip::parse, text);
    kind(Loss::parse, text);
    let request = request(text);
    // A depth of a million is allowed, and takes its time.
    if request.depth > 1000 {
        return;
    }
    match Spec::new(&request) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(spec) => {
            assert_eq!(spec, Spec::new(&request).expect("the same request is the same spec"));
            assert!(spec.content().starts_with(&format!("depth={};", spec.depth)));
            if small(&request) {
                let plan = Plan::new(&spec);
                let names = plan.tensors().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
                assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "every tensor has its own name");
            }
        }
    }
});
