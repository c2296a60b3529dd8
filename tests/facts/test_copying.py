"""What recurrent nets learn of symbols that are to be said again (Arjovsky et al. 2016)."""

import vgcore as vg


def test_an_lstm_says_symbols_again_after_twenty_steps_better_than_without_memory() -> None:
    problem = vg.data.copy(20, 20_000)
    spec = vg.RNN(40, 32, in_features=10, out_features=9, cell="lstm(forget_bias=3)", outputs="every")
    run = vg.train(spec, *problem, steps=800, batch=32, optimizer=vg.Adam(0.01), clip=1.0, monitor=())
    # Chance knows which steps are blank, and guesses the ten symbols.
    assert run.evaluate(*vg.data.copy(20, 1000, seed=1)).loss < 0.95 * problem.chance
