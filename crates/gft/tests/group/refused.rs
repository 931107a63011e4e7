//! Calls that cannot be meant, and what is said of them.

use crate::Bench;
use crate::world::said;

#[test]
fn mistakes_are_named_before_anything_is_asked() {
    let bench = Bench::new();
    for (flags, code, says) in [
        (vec![], 2, "--teacher"),
        (vec!["--teacher", "m"], 2, "OPENAI_BASE_URL"),
        (vec!["--teacher", "m,url=host:1"], 2, "must be an address"),
        (vec!["--teacher", "m,tmperature=1", "--url", "http://h/v1"], 2, "`tmperature=1`"),
        (vec!["--teacher", "m,key-env=NO_SUCH_KEY", "--url", "http://h/v1"], 2, "NO_SUCH_KEY"),
        (vec!["--teacher", "m", "--url", "http://h/v1", "--max-cost", "1"], 2, "--price"),
        (vec!["--teacher", "m", "--url", "http://h/v1", "--seed", "x"], 2, "--seed"),
        (vec!["--teacher", "m", "--url", "http://h/v1", "-n", "0"], 2, "above 0"),
        (vec!["--policy", "nowhere"], 3, "no such folder"),
        (vec!["--policy", "model,url=http://h/v1"], 2, "url is an option of endpoints"),
        (vec!["--teacher", "./model,price=1/2"], 2, "price is an option of endpoints"),
    ] {
        let output = bench.build("out.jsonl", &flags);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{flags:?}: {}", said(&output));
        assert!(!bench.path("out.jsonl").exists());
    }
}
