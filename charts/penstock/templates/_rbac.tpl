{{- /* What is read of, and written to, the namespaces with Ingresses. */}}
{{- define "penstock.namespaceRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [list, watch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [penstock.dev]
  resources: [accesspolicies, identityproviders]
  verbs: [list, watch]
- apiGroups: [penstock.dev]
  resources: [accesspolicies/status, identityproviders/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# Listed and watched for their names only; what is in one is read when an Ingress that is served, or an IdentityProvider, names it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, get, list, patch]
{{- end }}

{{- /* What is needed where Events about objects of no namespace lie. */}}
{{- define "penstock.eventRules" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, get, patch]
{{- end }}

{{- /* What is read of, and written to, no namespace. */}}
{{- define "penstock.clusterRules" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [list, watch]
- apiGroups: [penstock.dev]
  resources: [proxyclasses]
  verbs: [list, watch]
- apiGroups: [penstock.dev]
  resources: [proxyclasses/status]
  verbs: [patch]
{{- end }}

{{- /* What is needed in the release's own namespace. */}}
{{- define "penstock.ownRules" -}}
# A right to create cannot be bound to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "penstock.leaseName" . }}]
  verbs: [get, patch]
# What the replicas share of sessions: the keys that seal them, and those that ended before their time.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [penstock-session-keys]
  verbs: [get, list, update, watch]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [penstock-revocations]
  verbs: [get, list, update, watch]
{{- if include "penstock.publishNodes" . }}
# Its own pods say which nodes' addresses are published.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
{{- end }}

{{- /* A Role of these rules and its RoleBinding: (dict "root" $ "namespace" … "name" … "rules" …). */}}
{{- define "penstock.role" -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "penstock.labels" .root | nindent 4 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "penstock.labels" .root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  {{- include "penstock.subjects" .root | nindent 2 }}
{{ end }}

{{- define "penstock.subjects" -}}
- kind: ServiceAccount
  name: {{ include "penstock.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
