import pytest

from pipelines.reports.llm.llm_reader import LlmReader
from pipelines.reports.llm.readers_file import ReadersError, load_readers
from pipelines.reports.readers import RulesReader

LLM = '[[reader]]\nname = "m"\nkind = "llm"\nmodel = "x"\n'


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "readers.toml"
        path.write_text(text)
        return path

    return write


class TestLoadReaders:
    def test_default_is_rules_alone(self):
        config = load_readers()
        assert [type(r) for r in config.readers] == [RulesReader]

    def test_reader_by_model(self, write):
        config = load_readers(write(LLM + "concurrency = 5\n"))
        (reader,) = config.readers
        assert isinstance(reader, LlmReader)
        assert (reader.server.model, reader.server.concurrency) == ("x", 5)

    def test_disabled_reader_is_left_out(self, write):
        config = load_readers(write(LLM + 'enabled = false\n[[reader]]\nname = "rules"\nkind = "rules"\n'))
        assert [r.name for r in config.readers] == ["rules"]

    def test_url_of_the_environment_serves_readers_without_one(self, write):
        config = load_readers(write(LLM), environment={"PETAR_VLLM_URL": "http://host:9/"})
        assert config.readers[0].server.base_url == "http://host:9/v1"

    def test_servers_of_its_model_serve_a_reader_without_a_url(self, write):
        servers = {"x": ("http://a:1/v1", "http://b:2/v1"), "y": ("http://c:3/v1",)}
        assert load_readers(write(LLM), servers=servers).readers[0].server.urls == servers["x"]
        named = load_readers(write(LLM), servers=servers, environment={"PETAR_VLLM_URL": "http://host:9/"})
        assert named.readers[0].server.urls == ("http://host:9/v1",)

    def test_key_comes_from_the_environment_and_is_not_shown(self, write):
        config = load_readers(write(LLM + 'api_key_env = "MY_KEY"\n'), environment={"MY_KEY": "secret"})
        assert config.readers[0].server.api_key == "secret"
        assert "secret" not in repr(config.readers[0])

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[[reader]", "expected TOML"),
            ('[[reader]]\nname = "a"\nkind = "magic"\n', "rules, llm, python for kind"),
            ('[[reader]]\nkind = "rules"\n', "for name in"),
            ('[[reader]]\nname = "a"\nkind = "llm"\n', "add model"),
            (LLM + "concurency = 3\n", "concurency"),
            (LLM + 'concurrency = "3"\n', "an integer .* for concurrency"),
            (LLM + "concurrency = 0\n", "an integer >= 1 .* for concurrency"),
            (LLM + LLM, "got two"),
            (LLM + "enabled = false\n", "at least one enabled reader"),
            (LLM + 'prompt = "none"\n', "prompt file"),
            (LLM + 'api_key_env = "MY_KEY"\n', "MY_KEY"),
            ("[server]\n", "expected .*reader"),
        ],
    )
    def test_errors_say_what_to_do(self, write, text, words):
        with pytest.raises(ReadersError, match=words):
            load_readers(write(text))

    def test_missing_file(self, tmp_path):
        with pytest.raises(ReadersError, match=r"none\.toml"):
            load_readers(tmp_path / "none.toml")
