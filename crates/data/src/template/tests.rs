//! What a rendering can be given, where templates come from, and how they fail. Parity is in `tests/parity.rs`.

use super::*;
use crate::{Tokenizer, train_bpe, write_tokenizer_folder};
use serde_json::json;
use std::path::Path;

fn template(source: &str) -> ChatTemplate {
    let specials = SpecialTokens { eos: Some("<e>".into()), ..SpecialTokens::default() };
    ChatTemplate::new(source, "test", specials).unwrap()
}

fn render(source: &str, options: &RenderOptions) -> Result<String> {
    template(source).render(&[Message::user("q")], false, options)
}

fn marked(source: &str) -> Result<Marked> {
    template(source).render_marked(&[Message::user("q")], &RenderOptions::default())
}

#[test]
fn the_date_is_given() {
    let source = "{{ strftime_now('%d %b %Y|%A %a %B|%e|%j|%H:%M:%S|%I %p|%y|%-d/%-m|%F %T|%%') }}";
    let date = Date { hour: 14, minute: 5, second: 7, ..Date::new(2024, 2, 9).unwrap() };
    let with = |date| RenderOptions { date, ..RenderOptions::default() };
    // Python: datetime(2024, 2, 9, 14, 5, 7).strftime(...)
    let expected = "09 Feb 2024|Friday Fri February| 9|040|14:05:07|02 PM|24|9/2|2024-02-09 14:05:07|%";
    assert_eq!(render(source, &with(Some(date))).unwrap(), expected);
    let days = [
        ((2000, 1, 1), "Sat 001"),
        ((2000, 12, 31), "Sun 366"),
        ((1900, 3, 1), "Thu 060"),
        ((2026, 11, 22), "Sun 326"),
    ];
    for ((year, month, day), expected) in days {
        let date = Date::new(year, month, day);
        assert_eq!(render("{{ strftime_now('%a %j') }}", &with(date)).unwrap(), expected);
    }
    assert_eq!((Date::new(2023, 2, 29), Date::new(2023, 13, 1), Date::new(2023, 4, 31)), (None, None, None));
    let error = |source, date| render(source, &with(date)).unwrap_err().to_string();
    assert!(error(source, None).contains("template_date"));
    assert!(error("{{ strftime_now('%Q') }}", Some(date)).contains("%Q"));
}

#[test]
fn what_a_template_is_given() {
    let options = RenderOptions {
        tools: Some(json!([{"name": "t"}])),
        documents: None,
        kwargs: Map::from_iter([("style".to_string(), json!("brief"))]),
        date: None,
    };
    let source =
        "{{ tools[0].name }} {{ documents is none }} {{ style }} {{ eos_token }} {{ bos_token is defined }}";
    assert_eq!(render(source, &options).unwrap(), "t True brief <e> False");
    assert!(template("x").render(&[], false, &options).is_err());
}

#[test]
fn errors_name_the_template_and_its_line() {
    let error = |source: &str| render(source, &RenderOptions::default()).unwrap_err().to_string();
    assert_eq!(
        error("\n{{ raise_exception('not so') }}"),
        "chat template test: not so (line 2 of the template)"
    );
    assert!(error("{{ nothing.at.all }}").contains("line 1"));
    let syntax =
        ChatTemplate::new("{% if %}", "some/file", SpecialTokens::default()).unwrap_err().to_string();
    assert!(syntax.starts_with("chat template some/file: ") && syntax.contains("line 1"), "{syntax}");
    assert!(error("{% for i in range(99999999) %}{{ i }}{% endfor %}").contains("range"));
}

#[test]
fn marks_must_pair() {
    let ok = marked("a{% generation %}é{% endgeneration %}b{% generation %}{% endgeneration %}").unwrap();
    assert_eq!((ok.text.as_str(), ok.generated), ("aéb", vec![1..3, 4..4]));
    for bad in
        ["{% generation %}x", "x{% endgeneration %}", "{% generation %}{% generation %}x{% endgeneration %}"]
    {
        assert!(marked(bad).unwrap_err().to_string().contains("generation"), "{bad}");
    }
    let quoted = "{{ '{% generation %}' }}{# {% generation %} #}{% raw %}{% generation %}{% endraw %}";
    assert_eq!(marked(quoted).unwrap().text, "{% generation %}{% generation %}");
    assert!(!template(quoted).marks_generation(&RenderOptions::default()));
}

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let specials = SpecialTokens { eos: Some("<e>".into()), ..SpecialTokens::default() };
    write_tokenizer_folder(folder.path(), &train_bpe(["a"].iter(), 257, specials).unwrap(), None, 9).unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// What the template of a folder writes, without and with tools.
fn loaded(folder: &Path, given: Option<&Path>, name: Option<&str>) -> Result<Option<(String, String)>> {
    let tokenizer = Tokenizer::load(folder)?;
    let Some(template) = ChatTemplate::load(&tokenizer, given, name)? else { return Ok(None) };
    let tools = RenderOptions { tools: Some(json!([])), ..RenderOptions::default() };
    let render = |options| template.render(&[Message::user("q")], false, options).unwrap();
    Ok(Some((render(&RenderOptions::default()), render(&tools))))
}

#[test]
fn sources_in_their_order() {
    let both = |text: &str| Some((text.to_string(), text.to_string()));
    let config = json!({"eos_token": "<e>", "chat_template": "config"}).to_string();
    let only_config = folder(&[("tokenizer_config.json", config.clone())]);
    assert_eq!(loaded(only_config.path(), None, None).unwrap(), both("config"));
    let file = folder(&[
        ("tokenizer_config.json", config),
        ("chat_template.jinja", "file".into()),
        ("mine.jinja", "mine".into()),
    ]);
    assert_eq!(loaded(file.path(), None, None).unwrap(), both("file"));
    assert_eq!(loaded(file.path(), Some(&file.path().join("mine.jinja")), None).unwrap(), both("mine"));
    assert!(
        loaded(file.path(), Some(&file.path().join("absent.jinja")), None)
            .unwrap_err()
            .to_string()
            .contains("absent.jinja")
    );
    assert_eq!(loaded(folder(&[]).path(), None, None).unwrap(), None);

    let list = json!([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}, {"name": "rag", "template": "rag"}]);
    let named =
        folder(&[("tokenizer_config.json", json!({"eos_token": "<e>", "chat_template": list}).to_string())]);
    assert_eq!(loaded(named.path(), None, None).unwrap(), Some(("plain".into(), "tools".into())));
    assert_eq!(loaded(named.path(), None, Some("rag")).unwrap(), both("rag"));
    let error = loaded(named.path(), None, Some("rug")).unwrap_err().to_string();
    assert!(error.contains("\"rug\"") && error.contains("\"rag\""), "{error}");

    let files = folder(&[
        ("chat_template.jinja", "plain".into()),
        ("additional_chat_templates/tool_use.jinja", "tools".into()),
    ]);
    assert_eq!(loaded(files.path(), None, None).unwrap(), Some(("plain".into(), "tools".into())));
}
