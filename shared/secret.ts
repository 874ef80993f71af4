/** A string that prints itself as [redacted] wherever it is shown: logs, JSON, inspection, templates. */
import { inspect } from 'node:util'

const HIDDEN = '[redacted]'

export class Secret {
  readonly #value: string
  constructor(value: string) {
    this.#value = value
  }
  /** The plain value: call it only where the value leaves for its destination. */
  reveal(): string {
    return this.#value
  }
  toString(): string {
    return HIDDEN
  }
  toJSON(): string {
    return HIDDEN
  }
  [inspect.custom](): string {
    return HIDDEN
  }
}
