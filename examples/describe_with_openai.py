"""Ask a served checkpoint about one lesion with the openai client.

    petar serve --checkpoint data/checkpoints/findings_full --files data      # in another terminal
    python examples/describe_with_openai.py volumes/EXAM/SUV.nii MASK --ct volumes/EXAM/CT.nii

Paths are relative to the folder that `--files` names; `mask_path` of the view `lesions` is the mask of a lesion.
"""

import argparse

import openai


def main() -> None:
    """Prints the description, what was measured on the mask, and warnings."""
    parser = argparse.ArgumentParser(description="Ask a served checkpoint about one lesion.")
    parser.add_argument("pet")
    parser.add_argument("mask")
    parser.add_argument("--ct")
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1")
    given = parser.parse_args()

    client = openai.OpenAI(base_url=given.url, api_key="none")
    model = client.models.list().data[0].id
    images = {"pet": given.pet, "mask": given.mask} | ({"ct": given.ct} if given.ct else {})
    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Please describe the region highlighted in the PET image."}],
        extra_body={name: {"path": path} for name, path in images.items()},
    )
    told = (answer.model_extra or {})["petar"]
    print(answer.choices[0].message.content)
    print("measured on the mask:", told["measured"])
    for warning in told.get("warnings", []):
        print("warning:", warning)


if __name__ == "__main__":
    main()
