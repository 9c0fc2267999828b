// YAML as Envoy's loader reads it (yaml-cpp, then protobuf JSON). Which plain scalar is what decides what a field gets:
// `stat_prefix: 1.0` is a text, `stat_prefix: 010` and `stat_prefix: yes` are refused as a number and a boolean.

import { parse, type ScalarTag } from 'yaml'

/** `y`, `yes`, `on`, `true` and their opposites: in lower case, in upper case, or with a capital letter. */
const BOOLEAN: ScalarTag = {
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test: /^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/,
  resolve: (text) => /^(?:y|t|on$)/i.test(text),
}

/** Decimal, hexadecimal or, after a zero, octal. What JSON cannot hold exactly stays a text, which number fields take too. */
const INTEGER: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/,
  resolve: (text) => {
    const digits = text.replace(/^[-+]/, '')
    const octal = /^0[0-7]+$/.test(digits)
    const value = octal ? Number.parseInt(digits, 8) : Number(digits)
    return Number.isSafeInteger(value) ? (text.startsWith('-') ? -value : value) : text
  },
}

const NULL: ScalarTag = {
  tag: 'tag:yaml.org,2002:null',
  default: true,
  test: /^(?:~|null|Null|NULL)?$/,
  resolve: () => null,
}

/** Throws the parser's error; a key that is given twice is one, too, though Envoy takes it. */
export function parseEnvoyYaml(text: string): unknown {
  return parse(text, { schema: 'failsafe', customTags: [NULL, BOOLEAN, INTEGER] })
}
