import pytest

from dolg_zoo._util.csv_lists import DataError
from dolg_zoo.evaluation.gldv2.lists import (
    read_recognition_predictions,
    read_recognition_solution,
    read_retrieval_predictions,
    read_retrieval_solution,
)

A, B, C, D = (letter * 16 for letter in "abcd")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_solution_of_retrieval(write):
    path = write(
        f"id,images,Usage\r\n{A},{C} {D},Public\r\n{B},{C},Private\r\n{D},None,Ignored\r\n"
    )
    assert read_retrieval_solution(path) == {"Public": {A: {C, D}}, "Private": {B: {C}}}


def test_a_solution_of_recognition(write):
    path = write(f"id,landmarks,Usage\n{A},12 7,Private\n{B},,Private\n{C},,Ignored\n")
    assert read_recognition_solution(path) == {"Private": {A: {7, 12}, B: frozenset()}}


def test_a_query_with_ten_thousand_images_to_find(write):
    images = [f"{number:016x}" for number in range(10_000)]
    path = write(f"id,images,Usage\n{A},{' '.join(images)},Public\n")
    assert read_retrieval_solution(path)["Public"][A] == set(images)


def test_predictions(write):
    assert read_retrieval_predictions(write(f"id,images\n{A},{D} {C} \n{B},\n")) == {
        A: [D, C],
        B: [],
    }
    assert read_recognition_predictions(
        write(f"id,landmarks\n{A},7 0.25\n{B},\n{C},3 1e-3 \n")
    ) == {
        A: (7, 0.25),
        C: (3, 1e-3),
    }


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (read_retrieval_solution, "id,landmarks,Usage\n", "must begin with 'id,images,Usage'"),
        (read_retrieval_solution, "", "must begin with"),
        (read_retrieval_solution, "id,images,Usage\n", "no Public or Private"),
        (read_retrieval_solution, f"id,images,Usage\n{A},{C},Public\n{A},{C}\n", "line 3 is"),
        (read_retrieval_solution, f"id,images,Usage\n../{A},{C},Public\n", r"line 2 is '\.\./"),
        (read_retrieval_solution, f"id,images,Usage\n{A},../x,Public\n", r"line 2: .*not '\.\./x'"),
        (read_retrieval_solution, f"id,images,Usage\n{A},,Public\n", "line 2: images is empty"),
        (read_retrieval_solution, f"id,images,Usage\n{A},{C},Test\n", "line 2: Usage must be"),
        (
            read_retrieval_solution,
            f"id,images,Usage\n{A},{C},Public\n{A},{D},Private\n",
            f"line 3: {A} is in line 2 already",
        ),
        (
            read_recognition_solution,
            f"id,landmarks,Usage\n{A},x,Public\n",
            "line 2: landmarks must",
        ),
        (read_recognition_predictions, f"id,landmarks\n{A},1\n", "line 2: landmarks must be one"),
        (read_recognition_predictions, f"id,landmarks\n{A},1 2 3 4\n", "must be one landmark"),
        (read_recognition_predictions, f"id,landmarks\n{A},1 nan\n", "must be one landmark"),
        (read_recognition_predictions, b"id,landmarks\n\xff\xfe,1 2\n", "line 2 is"),
    ],
)
def test_a_fault_is_named_with_its_line(write, read, text, message):
    with pytest.raises(DataError, match=message):
        read(write(text))
