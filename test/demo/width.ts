/**
 * How many columns of a terminal a text takes, and how to cut it to fewer. Colours take none, a character of East Asia or
 * an emoji takes two. It asks no terminal what it really draws.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: a colour begins with one.
const COLOUR = /(\x1b\[[\d;]*m)/
const WIDE =
  /[\p{sc=Han}\p{sc=Hangul}\p{sc=Hiragana}\p{sc=Katakana}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]|\p{RGI_Emoji}/v
const BARE = /^[\p{M}\p{Cc}\p{Cf}]+$/u
const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })

/** A colour, or what is drawn as one character. */
type Piece = { text: string; columns: number; isColour: boolean }

const pieceOf = (text: string): Piece => ({
  text,
  columns: BARE.test(text) ? 0 : WIDE.test(text) ? 2 : 1,
  isColour: false,
})
const piecesOf = (text: string): Piece[] =>
  text
    .split(COLOUR)
    .flatMap((part, i) =>
      i % 2 === 1
        ? [{ text: part, columns: 0, isColour: true }]
        : [...graphemes.segment(part)].map(({ segment }) => pieceOf(segment)),
    )

/** The text as it is when it fits; otherwise its beginning and `…`, at most `columns` wide. Every colour is kept. */
export function cut(text: string, columns: number): string {
  const pieces = piecesOf(text)
  if (pieces.reduce((sum, piece) => sum + piece.columns, 0) <= columns) return text
  let room = columns - 1
  let isCut = false
  return pieces
    .map((piece) => {
      if (piece.isColour) return piece.text
      if (isCut) return ''
      room -= piece.columns
      isCut = room < 0
      return isCut ? '…' : piece.text
    })
    .join('')
}
