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
app.kubernetes.io/component: server
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

{{/* With watchNamespaces: to let go of JoinTokens whose namespace is being deleted, which may lose its Role first. */}}
{{- define "jointoken.releaseRules" -}}
- apiGroups: [jointoken.io]
  resources: [jointokens]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}

{{/* How many bytes a size of persistence.size is. */}}
{{- define "jointoken.bytes" -}}
{{- $units := dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- mul (int64 (trimSuffix $unit .)) (int64 (get $units $unit | default 1)) -}}
{{- end -}}

{{/* Kubernetes refuses another claim template, in words that say nothing of the way. */}}
{{- define "jointoken.checkClaim" -}}
{{- $name := include "jointoken.fullname" . -}}
{{- with lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $claim := index .spec.volumeClaimTemplates 0 -}}
{{- $size := $claim.spec.resources.requests.storage -}}
{{- $class := $claim.spec.storageClassName | default "" -}}
{{- $wanted := $.Values.persistence -}}
{{- $is := dict "labels" ($claim.metadata.labels | default dict) "annotations" ($claim.metadata.annotations | default dict) -}}
{{- $to := dict "labels" ($wanted.labels | default dict) "annotations" ($wanted.annotations | default dict) -}}
{{- if or (ne (include "jointoken.bytes" $size) (include "jointoken.bytes" $wanted.size)) (ne $class ($wanted.storageClassName | default "")) (ne (toJson $is) (toJson $to)) -}}
{{- fail (printf "persistence cannot be changed in place: the StatefulSet %s has volumes of %s, class %q, with labels and annotations %s. To grow the volumes, change the claims data-%s-0, -1, … first, then delete the StatefulSet and leave its pods (kubectl -n %s delete statefulset %s --cascade=orphan), and upgrade again: see \"Growing a volume\" in the chart's README.md" $name $size $class (toJson $is) $name $.Release.Namespace $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "jointoken.subjects" -}}
- kind: ServiceAccount
  name: {{ include "jointoken.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}
