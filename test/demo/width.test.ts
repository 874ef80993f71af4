/** Cutting a line to the width of the terminal. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cut } from './width.ts'

test('a line that fits stays as it is, down to the last column', () => {
  for (const text of ['', 'abcdef', '\x1b[1mabc\x1b[22mdef', '会議ab', 'Grüße!', 'Gru\u0308\u00dfe!'])
    assert.equal(cut(text, 6), text)
})

test('a longer line ends in an ellipsis in the last column, whatever its characters are', () => {
  assert.equal(cut('2,143/2,712', 10), '2,143/2,7…')
  assert.equal(cut('会議の議事録', 6), '会議…')
  assert.equal(cut('会議の議事録', 7), '会議の…')
  assert.equal(cut('👩‍👩‍👧‍👦🎉🎉🎉', 4), '👩‍👩‍👧‍👦…')
  assert.equal(cut('Gru\u0308\u00dfe aus', 5), 'Gru\u0308\u00df…')
})

test('colours take no room and those behind the cut are kept, so that none runs into the next line', () => {
  assert.equal(cut('\x1b[32mlive\x1b[39m \x1b[2m░░░\x1b[22m', 6), '\x1b[32mlive\x1b[39m \x1b[2m…\x1b[22m')
  assert.equal(cut('\x1b[1mabcdef\x1b[22m', 6), '\x1b[1mabcdef\x1b[22m')
})
