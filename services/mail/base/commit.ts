/**
 * The commit that this program is of: what the build has noted in MAIL_COMMIT, else what .git says of a checkout. A plain
 * look at its files: an image has no git, and often no .git either.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const HASH = /^[0-9a-f]{40,64}$/

/** `unknown` when nobody has noted it and `root` is no checkout. */
export function commitOf(noted: string | undefined, root: string): string {
  if (noted !== undefined) return noted
  const git = join(root, '.git')
  const head = textOf(join(git, 'HEAD'))
  const ref = /^ref: (refs\/\S+)$/.exec(head)?.[1]
  const found = ref === undefined ? head : textOf(join(git, ref)) || packed(textOf(join(git, 'packed-refs')), ref)
  return HASH.test(found) ? found : 'unknown'
}

/** git moves refs that have not changed for a while into one file. */
const packed = (refs: string, ref: string): string =>
  refs
    .split('\n')
    .find((line) => line.endsWith(` ${ref}`))
    ?.split(' ')[0] ?? ''

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}
