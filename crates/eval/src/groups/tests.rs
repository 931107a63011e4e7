use std::fs;

use gft_data::{Dataset, ReadOptions};

use super::*;

fn stats(lines: &[&str]) -> GroupStats {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("groups.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    let data = Dataset::open(&[path], &ReadOptions::default()).unwrap();
    let length = |text: &str| Ok(text.chars().count());
    GroupStats::of(&data, &Grader::default(), &length, "characters", 1, &mut |_| {}).unwrap()
}

#[test]
fn sources_signals_and_rejected_experts() {
    let found = stats(&[
        // Mixed; the two wrong answers of b are one, which the file calls right.
        r#####"{"prompt": "p", "answer": "7", "expert_completions": ["#### 7"], "teacher_completions": [
            {"content": "#### 8", "model": "b", "verified": true}, {"content": "so #### 8.0", "model": "b", "reward": 0.0},
            {"content": "\\boxed{7}", "model": "a", "verified": true}]}"#####
            .replace('\n', " ")
            .as_str(),
        // All right, and a policy that is not.
        r#####"{"prompt": "q", "answer": "1/2", "expert_completions": ["#### 0.5"], "teacher_completions": [
            {"content": "#### 1/2", "model": "a"}], "policy_completions": [{"content": "I do not know"}, "#### 3"]}"#####
            .replace('\n', " ")
            .as_str(),
        // Two experts, both rejected.
        r#####"{"prompt": "r", "answer": "2", "expert_completions": ["#### 3", "#### 4"], "teacher_completions": []}"#####,
        // Nothing to grade by.
        r#####"{"prompt": "s", "expert_completions": [], "teacher_completions": [{"content": "#### 5", "model": "a"}]}"#####,
    ]);
    assert_eq!((found.groups, found.without_gold), (4, 1));
    let names: Vec<&str> = found.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["expert", "a", "b", "policy"]);
    let [expert, a, b, policy] = found.sources.as_slice() else { panic!("{names:?}") };
    assert_eq!((expert.completions, expert.right, expert.accuracy), (4, 2, Some(0.5)));
    assert_eq!((a.completions, a.right, a.unscorable, a.accuracy, a.disagreeing), (3, 2, 1, Some(1.0), 0));
    assert_eq!((b.groups, b.wrong, b.distinct_answers, b.disagreeing), (1, 2, 1.0, 1));
    assert_eq!((policy.wrong, policy.unparsed, policy.distinct_answers), (1, 1, 1.0));
    let signal = |mixed, all_right, all_wrong, too_few| Signal { mixed, all_right, all_wrong, too_few };
    assert_eq!(found.demonstrations, signal(1, 1, 1, 1));
    assert_eq!(found.policy, Some(signal(0, 0, 1, 3)));
    assert_eq!(found.all, signal(2, 0, 1, 1));
    assert_eq!(found.rejected_experts, 2);
    let [first] = found.rejected.as_slice() else { panic!("{:?}", found.rejected) };
    assert_eq!((first.gold.as_str(), first.answer.as_deref()), ("2", Some("3")));
    assert_eq!(found.compositions["1 expert + 3 teacher"], 1);
    assert_eq!(found.compositions["1 expert + 1 teacher + 2 policy"], 1);
}

#[test]
fn the_same_words_again_are_not_new() {
    // "a b c d e" has two 4-grams; twice the same text has two distinct of four.
    let same = r#"{"prompt": "p", "teacher_completions": [{"content": "a b c d e", "model": "m"}, {"content": "a b  c d e", "model": "m"}]}"#;
    assert_eq!(stats(&[same]).sources[0].distinct_ngrams, Some(0.5));
    let short = r#"{"prompt": "p", "teacher_completions": [{"content": "a", "model": "m"}, {"content": "b", "model": "m"}]}"#;
    assert_eq!(stats(&[short]).sources[0].distinct_ngrams, Some(1.0));
    let one = r#"{"prompt": "p", "teacher_completions": [{"content": "a", "model": "m"}]}"#;
    assert_eq!(stats(&[one]).sources[0].distinct_ngrams, None);
}
