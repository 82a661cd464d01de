{{- define "jointoken.fullname" -}}
{{- if contains "jointoken" .Release.Name -}}
{{ .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-jointoken" .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* One for all JoinTokens of a class in all namespaces. */}}
{{- define "jointoken.scope" -}}
jointoken{{ with .Values.className }}-{{ . }}{{ end }}
{{- end -}}

{{- define "jointoken.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "jointoken.fullname" .) -}}
{{- end -}}

{{- define "jointoken.selectorLabels" -}}
app.kubernetes.io/name: jointoken
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "jointoken.labels" -}}
{{ include "jointoken.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "jointoken.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Where joining machines reach the door, one URL a line. */}}
{{- define "jointoken.advertiseUrls" -}}
{{- if .Values.advertiseUrls -}}
{{ join "\n" .Values.advertiseUrls }}
{{- else -}}
https://{{ include "jointoken.fullname" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}
{{- end -}}

{{/* Where the replicas reach each other: all that there may be, whatever number there is now. */}}
{{- define "jointoken.peers" -}}
{{- $name := include "jointoken.fullname" . -}}
{{- $addresses := list -}}
{{- range until 5 -}}
{{- $addresses = append $addresses (printf "%s-%d.%s-peers.%s.svc:9443" $name . $name $.Release.Namespace) -}}
{{- end -}}
{{ join "," $addresses }}
{{- end -}}

{{/* What the operator needs where the JoinTokens are: in all namespaces, or in each that it watches. */}}
{{- define "jointoken.rules" -}}
# To see what is asked for.
- apiGroups: [jointoken.io]
  resources: [jointokens]
  verbs: [get, list, watch]
# To put a finalizer on the resource of a live token, so that deleting it ends the token first. The spec
# is never written, but finalizers have no subresource that could be granted by itself.
- apiGroups: [jointoken.io]
  resources: [jointokens]
  verbs: [patch]
# To mirror the token's life.
- apiGroups: [jointoken.io]
  resources: [jointokens/status]
  verbs: [patch]
# To put a token into its Secret, to see that it is still there, and to take it away. By name only: it
# can neither list nor watch Secrets.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, delete]
# To tell a namespace from a later one of the same name, whose inhabitants must not learn who joined.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# To report each transition, and to count repeated ones.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "jointoken.subjects" -}}
- kind: ServiceAccount
  name: {{ include "jointoken.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
