//! What a page calls, compiled for WebAssembly: `static/engine.js` of the package is the other side.
//!
//! A call hands over a text, the name of one of `calls` and then lines of `field=value`, and an array of numbers; it
//! gives back a text and an array of numbers. All four lie on the desk of this side, whose places the page asks for:
//! only integers cross the border, and no pointer is followed here.
#![allow(unsafe_code)] // Names that the page finds are unsafe to give, for another library might have the same.

mod calls;
mod measure;
mod plan;

use calls::answer;
use std::cell::RefCell;

/// What is handed over, and what is given back.
#[derive(Default)]
struct Desk {
    text: Vec<u8>,
    numbers: Vec<f64>,
    said: String,
    found: Vec<f64>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Room for a text of so many bytes; gives its place.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_text(length: usize) -> usize {
    DESK.with_borrow_mut(|desk| {
        desk.text.clear();
        desk.text.resize(length, 0);
        desk.text.as_ptr() as usize
    })
}

/// Room for so many numbers; gives its place.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_numbers(count: usize) -> usize {
    DESK.with_borrow_mut(|desk| {
        desk.numbers.clear();
        desk.numbers.resize(count, 0.0);
        desk.numbers.as_ptr() as usize
    })
}

/// Do what the text asks for: 1, or 0 where it is refused and the text that comes back says why.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_call() -> u32 {
    let (text, numbers) =
        DESK.with_borrow(|desk| (String::from_utf8_lossy(&desk.text).into_owned(), desk.numbers.clone()));
    let (answer, fine) = match answer(&text, &numbers) {
        Ok(answer) => (answer, 1),
        Err(error) => ((error.to_string(), Vec::new()), 0),
    };
    DESK.with_borrow_mut(|desk| (desk.said, desk.found) = answer);
    fine
}

/// The place of the text that came back.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_said() -> usize {
    DESK.with_borrow(|desk| desk.said.as_ptr() as usize)
}

/// Its bytes.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_said_length() -> usize {
    DESK.with_borrow(|desk| desk.said.len())
}

/// The place of the numbers that came back.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_found() -> usize {
    DESK.with_borrow(|desk| desk.found.as_ptr() as usize)
}

/// How many they are.
#[unsafe(no_mangle)]
pub extern "C" fn vgcore_found_length() -> usize {
    DESK.with_borrow(|desk| desk.found.len())
}
