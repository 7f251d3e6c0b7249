"""What the pictures with sliders say, in each language; `{…}` is filled in by their scripts."""

from __future__ import annotations

from collections.abc import Mapping

Words = Mapping[str, str]

RU: Mapping[str, Words] = {
    "memory": {
        "title": "Сколько помнит одна мода",
        "dt": "шаг Δ",
        "decay": "затухание −Re λ",
        "turn": "вращение Im λ",
        "rule": "рядом с ZOH",
        "bilinear": "билинейное правило",
        "forward_euler": "явный метод Эйлера",
        "backward_euler": "неявный метод Эйлера",
        "exponential_euler": "экспоненциальный Эйлер",
        "steps": "шагов после токена",
        "disc": "λ̄ в единичном круге",
        "says": "|λ̄| = {radius} (ZOH) и {other} ({rule}). До половины следа по ZOH — "
        "шагов: {half}, единиц времени: {time}.",
        "out": "Второе число больше единицы: λ̄ вне круга, и след не гаснет, а растёт.",
    },
    "selectivity": {
        "title": "Что остаётся в состоянии после шестнадцати токенов",
        "marked": "Δ на важных токенах",
        "rest": "Δ на остальных",
        "fixed": "Δ слоя без выбора",
        "marks": "Важные токены",
        "token": "токен {n}",
        "selective": "шаг выбирает токен",
        "constant": "шаг один для всех",
        "says": "Доля важных токенов в состоянии: {selective} % при шаге, который выбирает токен, "
        "и {constant} % при одном шаге для всех.",
    },
    "chunk_walk": {
        "title": "Как блочный алгоритм обходит маску SSD",
        "size": "размер блока",
        "step": "шаг обхода",
        "decay": "затухание",
        "wrote": "кто записал",
        "read": "кто читает",
        "state": "состояние",
        "start": "Маска 16 × 16: пока не посчитано ничего. Шагов обхода: {steps}.",
        "own": "Блок {chunk} из {chunks}: свои клетки считаются как во внимании, все сразу.",
        "carry": "Блок {chunk} из {chunks}: всё, что левее, приносит одно состояние.",
        "hand": "Блок {chunk} из {chunks}: состояние дополнено и передано следующему блоку.",
        "so_far": "Всего клеток по одной: {direct}, через состояние: {carried}, передач состояния: "
        "{hands}.",
        "done": "Ответ отличается от цикла не больше чем на {error}.",
    },
}

EN: Mapping[str, Words] = {
    "memory": {
        "title": "How much one mode remembers",
        "dt": "step Δ",
        "decay": "decay −Re λ",
        "turn": "rotation Im λ",
        "rule": "beside ZOH",
        "bilinear": "bilinear rule",
        "forward_euler": "forward Euler",
        "backward_euler": "backward Euler",
        "exponential_euler": "exponential Euler",
        "steps": "steps since the token",
        "disc": "λ̄ in the unit disc",
        "says": "|λ̄| = {radius} (ZOH) and {other} ({rule}). By ZOH half of a trace is left after "
        "{half} steps, {time} units of time.",
        "out": "The second number is above one: λ̄ is outside the unit disc, and the trace grows.",
    },
    "selectivity": {
        "title": "What is left in the state after sixteen tokens",
        "marked": "Δ on tokens that matter",
        "rest": "Δ on the others",
        "fixed": "Δ of a layer that cannot choose",
        "marks": "Tokens that matter",
        "token": "token {n}",
        "selective": "the token chooses the step",
        "constant": "one step for all",
        "says": "Share of the state that comes from tokens that matter: {selective} % if the token "
        "chooses the step, {constant} % with one step for all.",
    },
    "chunk_walk": {
        "title": "How the chunked algorithm walks the mask of SSD",
        "size": "chunk size",
        "step": "step of the walk",
        "decay": "decay",
        "wrote": "written by",
        "read": "read by",
        "state": "state",
        "start": "A mask of 16 × 16, nothing computed yet. Steps of the walk: {steps}.",
        "own": "Chunk {chunk} of {chunks}: its own cells come as in attention, all at once.",
        "carry": "Chunk {chunk} of {chunks}: one state brings all that is to the left.",
        "hand": "Chunk {chunk} of {chunks}: the state is added to and handed to the next chunk.",
        "so_far": "Cells one by one: {direct}, through the state: {carried}, states handed over: "
        "{hands}.",
        "done": "The answer differs from that of the loop by no more than {error}.",
    },
}


def widget_words(name: str, tongue: str) -> Words:
    """Return the words of a picture in Russian or English."""
    return (RU if tongue == "ru" else EN)[name]
