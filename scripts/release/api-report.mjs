// The typings as a list: one line for each thing that a user can name, so that two versions can be held against each other. Comments, order and layout are no part of it.

import { basename } from 'node:path'
import { SyntaxKind as Kind, ModifierFlags } from 'typescript/unstable/ast'
import { API } from 'typescript/unstable/sync'

/**
 * One line. `path`: `TrunklineOptions.pool.maxConnections`, of an alternative of a union `Protocol|'openai'`. `way`: whether users hand it over (`in`), are given it
 * (`out`), or both.
 *
 * @typedef {{ path: string, optional: boolean, text: string, way: 'in' | 'out' | 'both', parameters?: { optional: boolean, text: string }[] }} Entry
 */

/**
 * @param {string} config a tsconfig.json that includes the files @param {string[]} files
 * @returns {Record<string, Entry[]>} by the name of each file
 */
export function reportOf(config, files) {
  const api = new API()
  try {
    const [project] = api.updateSnapshot({ openProject: config }).getProjects()
    const sources = files.map((file) => project.program.getSourceFile(file))
    const ways = waysOf(sources)
    return Object.fromEntries(sources.map((source) => [basename(source.fileName), entriesOf(source, ways)]))
  } finally {
    api.close()
  }
}

function entriesOf(source, ways) {
  const entries = []
  for (const declaration of exported(source)) {
    const way = ways.get(nameOf(declaration, source)) ?? 'both'
    entries.push(...entriesIn(declaration, source).map((entry) => ({ way, ...entry })))
  }
  return entries.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : a.text < b.text ? -1 : 1))
}

function entriesIn(node, source) {
  const name = nameOf(node, source)
  const text = (part) => textOf(part, source)
  const list = (parts, around = '<>') => (parts?.length ? `${around[0]}${parts.map(text).join(', ')}${around[1]}` : '')
  const head = (word) => ({
    path: name,
    optional: true,
    text: `${word} ${name}${list(node.typeParameters)}${(node.heritageClauses ?? []).map((clause) => ` ${text(clause)}`).join('')}`,
  })
  switch (node.kind) {
    case Kind.InterfaceDeclaration:
      return [head('interface'), ...membersOf(name, node.members, source)]
    case Kind.ClassDeclaration:
      // What users are given of a class is never theirs to hand over in pieces.
      return [
        head('class'),
        ...membersOf(name, node.members, source).map((entry) => ({ ...entry, way: entry.parameters ? 'out' : 'both' })),
      ]
    case Kind.TypeAliasDeclaration:
      return [head('type'), ...typeEntries(name, node.type, source)]
    case Kind.FunctionDeclaration:
      return [callable(name, node, source)]
    default:
      return [{ path: name, optional: true, text: `const ${name}: ${text(node.type)}`, way: 'out' }]
  }
}

/** A type that is written out, member by member, or alternative by alternative; any other as it stands. */
function typeEntries(path, type, source) {
  if (type.kind === Kind.TypeLiteral) return membersOf(path, type.members, source)
  if (type.kind !== Kind.UnionType) return [{ path: `${path}=`, optional: false, text: textOf(type, source) }]
  return type.types.map((one) => {
    const text = textOf(one, source)
    return { path: `${path}|${text}`, optional: true, text }
  })
}

function membersOf(path, members, source) {
  return members.flatMap((member) => {
    if (hasModifier(member, ModifierFlags.Private)) return []
    const name = member.name
      ? textOf(member.name, source)
      : member.kind === Kind.Constructor
        ? 'constructor'
        : textOf(member, source)
    const own = `${path}.${name}`
    if (member.kind === Kind.PropertySignature || member.kind === Kind.PropertyDeclaration) {
      const optional = isOptional(member)
      const readonly = hasModifier(member, ModifierFlags.Readonly) ? 'readonly ' : ''
      if (member.type?.kind === Kind.TypeLiteral) {
        return [{ path: own, optional, text: `${readonly}{…}` }, ...membersOf(own, member.type.members, source)]
      }
      return [{ path: own, optional, text: `${readonly}${member.type ? textOf(member.type, source) : 'any'}` }]
    }
    return [{ ...callable(own, member, source), optional: isOptional(member) }]
  })
}

function callable(path, node, source) {
  const parameters = [...(node.parameters ?? [])].map((parameter) => ({
    optional: isOptional(parameter) || parameter.dotDotDotToken !== undefined,
    text: textOf(parameter, source),
  }))
  const generics = node.typeParameters?.length
    ? `<${node.typeParameters.map((one) => textOf(one, source)).join(', ')}>`
    : ''
  const result = node.type ? `: ${textOf(node.type, source)}` : ''
  return { path, optional: true, text: `${generics}(…)${result}`, parameters, way: 'out' }
}

/** By name, whether a type is handed over or given: from the parameters and results of functions and methods on, through whatever these name. */
function waysOf(sources) {
  const declared = new Map()
  for (const source of sources) {
    for (const node of exported(source)) declared.set(nameOf(node, source), { node, source })
  }
  const ways = new Map()
  const see = (node, source, way) => {
    if (!node) return
    if (node.kind === Kind.TypeReference) reach(textOf(node.typeName, source), way)
    if (isCallable(node)) {
      for (const parameter of node.parameters) see(parameter.type, source, flipped(way))
      see(node.type, source, way)
      return
    }
    node.forEachChild((child) => {
      see(child, source, way)
    })
  }
  const reach = (name, way) => {
    const before = ways.get(name)
    if (!declared.has(name) || before === way || before === 'both') return
    ways.set(name, before ? 'both' : way)
    const { node, source } = declared.get(name)
    see(node, source, way)
  }
  for (const { node, source } of declared.values()) {
    if ([Kind.ClassDeclaration, Kind.FunctionDeclaration, Kind.VariableDeclaration].includes(node.kind))
      see(node, source, 'out')
  }
  return ways
}

const CALLABLE = [
  Kind.FunctionDeclaration,
  Kind.FunctionType,
  Kind.ConstructorType,
  Kind.MethodSignature,
  Kind.MethodDeclaration,
  Kind.Constructor,
  Kind.CallSignature,
  Kind.ConstructSignature,
  Kind.SetAccessor,
]
const isCallable = ({ kind }) => CALLABLE.includes(kind)
const flipped = (way) => ({ in: 'out', out: 'in', both: 'both' })[way]

/** All that a file declares and exports, variables one by one. */
function exported(source) {
  return [...source.statements].flatMap((node) => {
    if (!hasModifier(node, ModifierFlags.Export)) return []
    return node.kind === Kind.VariableStatement ? [...node.declarationList.declarations] : [node]
  })
}

function hasModifier(node, flag) {
  return (node.modifierFlags & flag) !== 0
}

function isOptional(node) {
  return (node.postfixToken ?? node.questionToken)?.kind === Kind.QuestionToken
}

function nameOf(node, source) {
  return textOf(node.name, source)
}

/** As it is written, but for comments and white space, and a first `|`. */
function textOf(node, source) {
  return node
    .getText(source)
    .replace(/\/\*[\s\S]*?\*\/|(?<![:'"\w])\/\/.*$/gm, ' ')
    .replace(/\s+/g, ' ')
    .replace(/([({<[]) /g, '$1')
    .replace(/,? ([)\]>])/g, '$1')
    .replace(/^\| /, '')
    .trim()
}

/** @param {Entry} entry */
export function lineOf({ path, optional, text, parameters }) {
  const all = parameters ? text.replace('(…)', `(${parameters.map((one) => one.text).join(', ')})`) : text
  // A heading and an alternative say all by themselves.
  if (path.includes('|') || path.endsWith('=') || !path.includes('.')) return parameters ? `${path}${all}` : all
  return `${path}${optional && !parameters ? '?' : ''}${parameters ? '' : ': '}${all}`
}
