"""What a small transformer learns of the digits as eight tokens of eight pixels."""

import vgcore as vg


def test_two_pre_norm_blocks_tell_nine_of_ten_digits_from_their_rows() -> None:
    spec = vg.Transformer(2, 32, tokens=8, in_features=8, out_features=10, pool="mean")
    problem = vg.data.sequential_digits(by="row")
    run = vg.train(spec, *problem, steps=1000, batch=32, optimizer=vg.Adam(0.003), validation=0.2, monitor=())
    assert run.validation_accuracy[0].max() > 0.9
